"""The Lambda architecture: a nightly batch (``offline``) beside a per-image path (``online``)."""
