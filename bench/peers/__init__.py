"""What a user would write instead, measured beside our own paths: same images, model, S3 and broker."""
