"""Compares the metrics of two sets of replicates: base and head."""
