"""Arms whose behaviour is known, so that the harness itself can be measured and tested."""
