"""The bare loop: fetch, decode, infer, and nothing else. Its speed is the limit that all paths refer to."""
