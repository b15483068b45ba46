"""The S3 object store: images are read from it, nightly outputs are written to it.

Images are read, and outputs of jobs written, through :mod:`signals.object_transfer`; all else is rare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException

from signals.architecture import S3Endpoint
from signals.counters import COUNTERS, S3_GET, S3_LIST, S3_OTHER, S3_PUT, Resource
from signals.errors import ConfigurationError, ServiceError
from signals.object_transfer import ObjectTransfer

CONNECT_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 30.0
CONNECTIONS = 16
RETRIES = 2
RETRY_SECONDS = 60.0

_T = TypeVar("_T")


class _CountingPool(urllib3.PoolManager):
    """Counts requests where they are sent, so that what the S3 client adds on its own is counted too."""

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        """See urllib3."""
        COUNTERS.add(_kind_of_request(method, url))
        return super().urlopen(method, url, *args, **options)


def _kind_of_request(method: str, url: str) -> Resource:
    if method == "PUT":
        return S3_PUT
    if method == "GET":
        return S3_LIST if "list-type=" in urlsplit(url).query else S3_GET
    return S3_OTHER


class ObjectStore:
    """One bucket. Thread-safe; open one per process, connections do not survive a fork."""

    def __init__(
        self,
        endpoint: S3Endpoint,
        *,
        retries: int = RETRIES,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Connects at the first call. No GET or PUT is tried again later than ``retry_seconds`` after its
        first attempt. Raises ConfigurationError for what can't be an endpoint."""
        self._endpoint = endpoint
        self._http = _CountingPool(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=read_timeout_seconds),
            maxsize=CONNECTIONS,
            retries=urllib3.Retry(total=retries, backoff_factor=0.1, status_forcelist=(500, 502, 503, 504)),
        )
        self._transfer = ObjectTransfer(
            endpoint,
            connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            read_timeout_seconds=read_timeout_seconds,
            retries=retries,
            retry_seconds=retry_seconds,
        )
        try:
            self._client = Minio(
                endpoint.endpoint,
                access_key=endpoint.access_key,
                secret_key=endpoint.secret_key,
                secure=endpoint.secure,
                region=endpoint.region,  # given, so that no request is spent on finding it out
                http_client=self._http,
            )
        except ValueError as error:
            raise ConfigurationError(f"the object store {endpoint.endpoint}: {error}") from error

    def get(self, key: str, max_bytes: int) -> bytes:
        """The object's bytes.

        Raises ImageError ``missing_object`` or ``too_many_bytes`` (nothing beyond the cap is read), and
        ServiceError where the store can't be reached or refuses.
        """
        return self._transfer.get(key, max_bytes)

    def get_head(self, key: str, size: int) -> bytes:
        """The object's first ``size`` bytes, or all of a shorter one. Raises as :meth:`get` does."""
        return self._transfer.get_head(key, size)

    def put(self, key: str, data: bytes) -> None:
        """Write one object, replacing it if it exists. Raises ServiceError."""
        self._transfer.put(key, data)

    def put_many(self, items: Iterable[tuple[str, bytes]], threads: int = 8) -> int:
        """Write many objects concurrently. Returns their number; raises ServiceError at the first failure."""
        with ThreadPoolExecutor(threads, thread_name_prefix="put") as pool:
            return sum(1 for _ in pool.map(lambda item: self.put(*item), items))

    def remove(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are no error. Raises ServiceError."""
        objects = (DeleteObject(key) for key in keys)
        for error in self._call(lambda: list(self._client.remove_objects(self._endpoint.bucket, objects))):
            raise ServiceError(f"the object store refuses to delete {error.name}: {error.message}")

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with ``prefix``, in order. Raises ServiceError."""
        entries = self._client.list_objects(self._endpoint.bucket, prefix=prefix, recursive=True)
        while (entry := self._call(lambda: next(entries, None))) is not None:
            if entry.object_name is not None:
                yield entry.object_name

    def ensure_bucket(self) -> None:
        """Create the bucket unless it exists. Raises ServiceError."""
        bucket = self._endpoint.bucket
        if self._call(lambda: self._client.bucket_exists(bucket)):
            return
        try:
            self._call(lambda: self._client.make_bucket(bucket))
        except ServiceError:
            if not self._call(lambda: self._client.bucket_exists(bucket)):  # else another process made it
                raise

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, operation: Callable[[], _T]) -> _T:
        try:
            return operation()
        except (MinioException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ServiceError(
                f"the object store {self._endpoint.endpoint}, bucket {self._endpoint.bucket}: {error}"
            ) from error
