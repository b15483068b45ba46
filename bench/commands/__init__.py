"""One module per command of ``lkbench``, and the group that imports one only when it is called."""
