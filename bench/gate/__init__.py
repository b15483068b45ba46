"""Thresholds on the metrics of a run, and whether they hold."""
