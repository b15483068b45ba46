"""Measures two commits on this machine in one job: their checkouts, the order of runs, the runs."""
