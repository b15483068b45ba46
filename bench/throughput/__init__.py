"""Drains a backlog through each path, beside the bare loop in the same run: what the plumbing costs."""
