"""GET and PUT of whole objects: what is done for every image, and for every job.

Through obstore, that is, Rust's object_store: it signs, sends and parses without Python's lock, for a third
of what the client in Python costs, which serves everything else (:mod:`signals.object_store`).
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from signals.architecture import S3Endpoint
from signals.counters import COUNTERS, S3_GET, S3_PUT, S3_READ, S3_WRITTEN
from signals.errors import ConfigurationError, ImageError, ServiceError

if TYPE_CHECKING:
    from obstore.store import S3Credential

REQUEST_SECONDS = 600.0  # of one attempt, whatever its size
_MISSING = ("<Code>NoSuchKey</Code>", "<Code>NoSuchObject</Code>")
_NOWHERE = "http://127.0.0.1:9"


class ObjectTransfer:
    """Reads and writes objects of one bucket. Thread-safe; for one process: obstore must not be used after a
    fork."""

    def __init__(
        self,
        endpoint: S3Endpoint,
        *,
        connect_timeout_seconds: float,
        read_timeout_seconds: float,
        retries: int,
        retry_seconds: float,
    ) -> None:
        """Connects at the first call. Raises ConfigurationError for what can't be an endpoint."""
        self._name = f"the object store {endpoint.endpoint}, bucket {endpoint.bucket}"

        def credential() -> S3Credential:
            return {
                "access_key_id": endpoint.access_key,
                "secret_access_key": endpoint.secret_key,
                "token": None,
                "expires_at": None,
            }

        # What obstore is not told it takes from AWS_* and *_PROXY in the environment. The harness is told
        # everything by its configuration: an endpoint's keys have no session token, and no proxy is asked.
        try:
            self._store = S3Store(
                endpoint.bucket,
                aws_endpoint_url_s3=f"{'https' if endpoint.secure else 'http'}://{endpoint.endpoint}",
                region=endpoint.region,
                virtual_hosted_style_request=False,
                skip_signature=False,
                unsigned_payload=_travels_safely(endpoint),
                s3_express=False,
                request_payer=False,
                credential_provider=credential,
                client_options={
                    "allow_http": not endpoint.secure,
                    "connect_timeout": timedelta(seconds=connect_timeout_seconds),
                    "read_timeout": timedelta(seconds=read_timeout_seconds),
                    "timeout": timedelta(seconds=REQUEST_SECONDS),
                    "proxy_url": _NOWHERE,  # a proxy that is never asked keeps the environment's away
                    "proxy_excludes": _host(endpoint),
                },
                retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=retry_seconds)},
            )
        except (BaseError, ValueError) as error:
            raise ConfigurationError(f"{self._name}: {_brief(error)}") from error

    def get(self, key: str, max_bytes: int) -> bytes:
        """See :meth:`signals.object_store.ObjectStore.get`."""

        def read() -> bytes:
            found = self._store.get(key)
            # Without Content-Length there is no answer, and no more than it says is taken for the body.
            if found.meta["size"] > max_bytes:
                raise ImageError("too_many_bytes", f"{key} is larger than {max_bytes} bytes")
            return found.bytes().to_bytes()

        return self._counted(key, read)

    def get_head(self, key: str, size: int) -> bytes:
        """See :meth:`signals.object_store.ObjectStore.get_head`."""
        return self._counted(key, lambda: self._store.get_range(key, start=0, length=size).to_bytes())

    def put(self, key: str, data: bytes) -> None:
        """See :meth:`signals.object_store.ObjectStore.put`."""
        if not _is_plain(key):
            raise ServiceError(f"{self._name}: {key!r} has an empty part or one of dots")
        COUNTERS.add(S3_PUT)
        try:
            self._store.put(key, data, use_multipart=False)
        except (BaseError, OSError, ValueError) as error:
            raise ServiceError(f"{self._name}: {_brief(error)}") from error
        COUNTERS.add(S3_WRITTEN, len(data))

    def _counted(self, key: str, read: Callable[[], bytes]) -> bytes:
        if not _is_plain(key):
            raise ImageError(
                "missing_object", f"{key!r} has an empty part or one of dots, which can't be read"
            )
        COUNTERS.add(S3_GET)  # as one, however often obstore has to try
        try:
            data = read()
        except FileNotFoundError as error:
            if not any(code in str(error) for code in _MISSING):  # the bucket, say
                raise ServiceError(f"{self._name}: {_brief(error)}") from error
            raise ImageError("missing_object", key) from error
        except (BaseError, OSError, ValueError) as error:
            raise ServiceError(f"{self._name}: {_brief(error)}") from error
        COUNTERS.add(S3_READ, len(data))
        return data


def _is_plain(key: str) -> bool:
    """Other keys object_store would tidy up, and so mean another object."""
    return not any(part in ("", ".", "..") for part in key.split("/"))


def _travels_safely(endpoint: S3Endpoint) -> bool:
    """Whether nobody between here and there can change a body: over TLS, as S3 clients see it, and on this
    machine. The hash of a body in its signature costs client and server more than the rest of a PUT."""
    host = _host(endpoint)
    with contextlib.suppress(ValueError):  # a name, which may say anything
        return endpoint.secure or ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _host(endpoint: S3Endpoint) -> str:
    return urlsplit(f"//{endpoint.endpoint}").hostname or ""


def _brief(error: Exception) -> str:
    """What obstore says before it shows its insides."""
    return str(error).partition("\n\nDebug source:")[0]
