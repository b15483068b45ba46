"""The two downstream consumers: what "available" means is measured from their side."""
