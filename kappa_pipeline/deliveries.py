"""How often each message of a partition was delivered. Kafka keeps no such count.

Whoever has a partition takes its messages one after the other, from the committed offset on. So all that an
owner had taken is told by one number: the offset that it would have taken next. A message was delivered as
often as there are such numbers beyond its offset. They travel from owner to owner in the metadata of the
group's committed offset, which is written with it, and outlives a kill -9.
"""

from __future__ import annotations

import re

# Kafka takes 4,096 bytes of metadata. The farthest ends are dropped first: the oldest message's count is the
# one that decides whether it is given up.
MAX_ENDS = 64
_METADATA = re.compile(r"taken=(\d{1,19}(?:,\d{1,19})*)", re.ASCII)


class Deliveries:
    """The deliveries of one partition before its present owner took it.

    ``metadata`` is what the owner before wrote; anything that is not in its format counts as none.
    """

    def __init__(self, metadata: str = "") -> None:
        match = _METADATA.fullmatch(metadata)
        self._ends = [int(end) for end in match[1].split(",")] if match else []

    def attempt(self, offset: int) -> int:
        """The number, from 1, of the present owner's delivery of the message at ``offset``."""
        return 1 + sum(end > offset for end in self._ends)

    def metadata(self, committed: int, expected: int) -> str:
        """What the next owner has to know when this one has taken all before ``expected``, and all before
        ``committed`` is done."""
        ends = sorted(end for end in (*self._ends, expected) if end > committed)
        return f"taken={','.join(map(str, ends[:MAX_ENDS]))}" if ends else ""
