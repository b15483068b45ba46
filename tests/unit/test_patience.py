from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import cast

import pytest
import thriftpy2

from lambda_pipeline.patience import open_gss
from signals.architecture import RpcEndpoint, RunContext
from signals.encodings import IDL_DIR
from signals.rpc import RpcServer, RpcUnavailable

IDL = thriftpy2.load(str(IDL_DIR / "gss.thrift"), module_name="gss_thrift")
TOKEN = "the token of this run"


class Hanging:
    """A GSS that answers when it is too late."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def contains(self, _store: str, keys: list[bytes]) -> list[bool]:
        self.release.wait(10)
        return [True] * len(keys)


def test_a_signal_store_that_hangs_is_given_up_within_a_claim() -> None:
    hanging = Hanging()
    with RpcServer(IDL.Gss, hanging, TOKEN) as server:
        endpoint = RpcEndpoint(server.host, server.port, TOKEN)
        context = cast(RunContext, SimpleNamespace(gss=endpoint, namespace="lk", claim_seconds=0.6))
        with open_gss(context) as gss, pytest.raises(RpcUnavailable, match="timed out"):
            gss.contains([b"key"])
        hanging.release.set()
