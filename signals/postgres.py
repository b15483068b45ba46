"""Connections to PostgreSQL that notice when the network, or the machine at its other end, is gone.

By itself TCP sends again for a quarter of an hour, and waits for an answer for ever. A server that hangs
while its machine lives is not noticed: its kernel acknowledges what it will never read.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

CONNECT_TIMEOUT_SECONDS = 5
UNACKNOWLEDGED_SECONDS = 5.0  # what was sent, a probe too, is then taken for lost, and with it the other end
IDLE_SECONDS = 3  # until the other end is probed; PROBES of them, PROBE_SECONDS apart, may go unanswered
PROBE_SECONDS = 1
PROBES = 3


def connect(dsn: str) -> psycopg.Connection[TupleRow]:
    """An autocommitting connection; what ``dsn`` (a libpq URI) sets itself is kept. Raises psycopg.Error, as
    its uses do once the other end has been silent for ``UNACKNOWLEDGED_SECONDS``, or little more.

    A Unix socket needs none of this, and libpq leaves it alone.
    """
    settings: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "tcp_user_timeout": round(UNACKNOWLEDGED_SECONDS * 1000),
        "keepalives_idle": IDLE_SECONDS,
        "keepalives_interval": PROBE_SECONDS,
        "keepalives_count": PROBES,
    }
    return psycopg.connect(autocommit=True, **{**settings, **conninfo_to_dict(dsn)})
