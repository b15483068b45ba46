"""Settings that hold for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# In CI the examples are the same every time: a change is judged by what it changes. Elsewhere they are new in
# every run, and find what nobody thought of.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")
