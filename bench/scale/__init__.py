"""Very many small images with a near-free model: whether cost and memory stay as they began."""
