"""Settings that hold for all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# In CI the examples are the same every time: a change is judged by what it changes. Elsewhere they are new in
# every run, and find what nobody thought of.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# A shell without job control has what it starts in the background ignore Ctrl-C, and so do all its children.
# Tests send it on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)
