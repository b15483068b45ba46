"""The nightly workflow, steps 1 to 9 of the case study."""
