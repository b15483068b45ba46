"""How a run folder becomes something people read."""
