"""The harness audits itself: defects of known kind and size are planted, and each has to be found."""
