"""GET of whole objects, the one request that is made for every image.

Through obstore, that is, Rust's object_store: it signs, sends and parses without Python's lock, for a third
of what the client in Python costs, which serves everything else (:mod:`signals.object_store`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from signals.architecture import S3Endpoint
from signals.counters import COUNTERS, S3_GET, S3_READ
from signals.errors import ConfigurationError, ImageError, ServiceError

if TYPE_CHECKING:
    from obstore.store import S3Credential

RETRY_SECONDS = 60.0  # no new attempt is made later than that after the first
REQUEST_SECONDS = 600.0  # of one attempt, whatever its size
_MISSING = ("<Code>NoSuchKey</Code>", "<Code>NoSuchObject</Code>")
_NOWHERE = "http://127.0.0.1:9"


class ObjectReader:
    """Reads objects of one bucket. Thread-safe; for one process: obstore refuses to be used after a fork."""

    def __init__(
        self,
        endpoint: S3Endpoint,
        *,
        connect_timeout_seconds: float,
        read_timeout_seconds: float,
        retries: int,
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
                s3_express=False,
                request_payer=False,
                credential_provider=credential,
                client_options={
                    "allow_http": not endpoint.secure,
                    "connect_timeout": timedelta(seconds=connect_timeout_seconds),
                    "read_timeout": timedelta(seconds=read_timeout_seconds),
                    "timeout": timedelta(seconds=REQUEST_SECONDS),
                    "proxy_url": _NOWHERE,  # a proxy that is never asked keeps the environment's away
                    "proxy_excludes": urlsplit(f"//{endpoint.endpoint}").hostname or "",
                },
                retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
            )
        except (BaseError, ValueError) as error:
            raise ConfigurationError(f"{self._name}: {_brief(error)}") from error

    def get(self, key: str, max_bytes: int) -> bytes:
        """See :meth:`signals.object_store.ObjectStore.get`."""
        # object_store would tidy such a key up and read another object.
        if any(part in ("", ".", "..") for part in key.split("/")):
            raise ImageError(
                "missing_object", f"{key!r} has an empty part or one of dots, which can't be read"
            )
        COUNTERS.add(S3_GET)  # as one, however often obstore has to try
        try:
            found = self._store.get(key)
            # Without Content-Length there is no answer, and no more than it says is taken for the body.
            if found.meta["size"] > max_bytes:
                raise ImageError("too_many_bytes", f"{key} is larger than {max_bytes} bytes")
            data = found.bytes().to_bytes()
        except FileNotFoundError as error:
            if not any(code in str(error) for code in _MISSING):  # the bucket, say
                raise ServiceError(f"{self._name}: {_brief(error)}") from error
            raise ImageError("missing_object", key) from error
        except (BaseError, OSError, ValueError) as error:
            raise ServiceError(f"{self._name}: {_brief(error)}") from error
        COUNTERS.add(S3_READ, len(data))
        return data


def _brief(error: Exception) -> str:
    """What obstore says before it shows its insides."""
    return str(error).partition("\n\nDebug source:")[0]
