"""An inference service that the configuration names: checked before it is used, booked while it is held."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from lambda_pipeline.online.inference_client import InferenceClient
from signals.architecture import RunContext
from signals.declaration import declared_signals
from signals.device_session import DeviceSession
from signals.errors import ConfigurationError
from signals.ledger import Ledger
from signals.model import Model

POOL = "online"
TIMEOUT_SECONDS = 10.0


@contextlib.contextmanager
def hold_external_service(context: RunContext, ledger: Ledger) -> Iterator[None]:
    """Book the service's devices as held while inside.

    Raises ConfigurationError where it computes something else than this run does, and ServiceError.
    """
    client = InferenceClient(context, timeout_seconds=TIMEOUT_SECONDS, absence_seconds=TIMEOUT_SECONDS)
    with contextlib.closing(client):
        service = client.describe()
    where = f"the inference service at {context.inference.address}"
    if (model := Model.load(context.model_dir).manifest).sha256 != service.model_sha256:
        raise ConfigurationError(
            f"{where} has model {service.model_sha256[:12]}, this run {model.sha256[:12]} ({model.name}): "
            "both arms must compute the same; name its model in [model] path, or start it with this one"
        )
    if missing := sorted({signal.title for signal in declared_signals()} - service.signals):
        raise ConfigurationError(f"{where} does not compute {', '.join(missing)}; declare them there, too")
    now_ns = time.time_ns()  # when it was launched is not this run's business
    with DeviceSession(ledger, path=POOL, pool=POOL, devices=service.devices, since_ns=now_ns):
        yield
