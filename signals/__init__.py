"""What a visual signal is: the core that both architectures share.

Imports neither pipeline, nor the harness, nor a batch or stream engine.
"""
