"""Fixed and per-image parts of every stage, from compressed days of different sizes."""
