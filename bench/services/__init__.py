"""The servers that a run needs, started, health-checked, logged and stopped as child processes."""
