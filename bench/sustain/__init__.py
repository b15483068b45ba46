"""The highest rate that an arm sustains: no continuously growing latency (Karimov et al. 2018)."""
