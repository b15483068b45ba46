"""The Kappa architecture: one stream job, and a nightly dump of its key-value store."""
