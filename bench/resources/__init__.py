"""What a run took: counts by its own clients, and what independent sources say about the same."""
