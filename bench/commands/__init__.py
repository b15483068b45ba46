"""Subcommands of ``lkbench`` that have a file of their own."""
