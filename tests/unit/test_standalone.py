from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.services.standalone import StandaloneServers
from signals.errors import ServiceError
from signals.process import ProcessGroup


def test_a_server_that_ends_is_noticed_and_secrets_are_not_shown(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        server = group.start("kafka", [sys.executable, "-c", "input('up')"])
        servers = StandaloneServers("dsn = 'secret'", (group,))
        assert "secret" not in repr(servers)
        server.popen.wait(timeout=30)  # its stdin is empty, so it ends at once
        with pytest.raises(ServiceError, match=r"kafka ended with code 1; its log is .*kafka\.log"):
            servers.check()
