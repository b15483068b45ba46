"""The per-image path: one PinLater job per image, an inference service, Rockstore, a Kafka event."""
