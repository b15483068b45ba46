"""A result in the formats of other tools: small functions of what a run folder holds."""
