"""What a sample can say: availability curves with bands, steady state, and which percentiles it carries."""
