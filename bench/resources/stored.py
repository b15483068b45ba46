"""What an arm leaves stored at the end of a replicate, in bytes."""

from __future__ import annotations

from pathlib import Path

import orjson
import urllib3
from minio import Minio
from minio.error import MinioException

from signals.architecture import RunContext, S3Endpoint
from signals.errors import ServiceError


def folder_bytes(folder: Path) -> int:
    """Bytes of the files below ``folder``; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def parquet_bytes(context: RunContext) -> int:
    """Bytes of the Hive partitions that ``partitions.json`` names; 0 without any."""
    listing = context.arm_dir / "partitions.json"
    if not listing.is_file():
        return 0
    locations = {entry["location"].removeprefix("file:") for entry in orjson.loads(listing.read_bytes())}
    return sum(folder_bytes(context.run_dir / location) for location in locations)


def object_bytes(endpoint: S3Endpoint, prefix: str) -> int:
    """Bytes of the objects below ``prefix``, asked with a client that counts nothing. Raises ServiceError."""
    http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5.0, read=30.0), retries=1)
    client = Minio(
        endpoint.endpoint,
        access_key=endpoint.access_key,
        secret_key=endpoint.secret_key,
        secure=endpoint.secure,
        region=endpoint.region,
        http_client=http,
    )
    try:
        entries = client.list_objects(endpoint.bucket, prefix=prefix, recursive=True)
        return sum(entry.size or 0 for entry in entries)
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise ServiceError(f"S3 at {endpoint.endpoint}, bucket {endpoint.bucket}: {error}") from error
    finally:
        http.clear()
