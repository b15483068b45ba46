from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest

from signals.architecture import S3Endpoint
from signals.errors import ImageError, ServiceError
from signals.object_store import ObjectStore

pytestmark = pytest.mark.integration


@pytest.fixture
def store(s3: S3Endpoint) -> Iterator[ObjectStore]:
    with ObjectStore(s3) as opened:
        yield opened


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid4().hex}/"


def test_reads_what_was_written(store: ObjectStore, prefix: str) -> None:
    store.put(prefix + "a b+ü", b"bytes")
    store.put(prefix + "empty", b"")

    assert store.get(prefix + "a b+ü", max_bytes=5) == b"bytes"
    assert store.get(prefix + "empty", max_bytes=5) == b""


def test_reads_the_head_of_an_object_however_short(store: ObjectStore, prefix: str) -> None:
    store.put(prefix + "long", b"0123456789")
    store.put(prefix + "short", b"012")

    assert store.get_head(prefix + "long", 4) == b"0123"
    assert store.get_head(prefix + "short", 4) == b"012"
    with pytest.raises(ImageError, match="missing_object"):
        store.get_head(prefix + "nothing", 4)


def test_an_object_is_replaced_and_one_that_is_refused_is_not_written(
    store: ObjectStore, s3: S3Endpoint, prefix: str
) -> None:
    store.put(prefix + "twice", b"longer before")
    store.put(prefix + "twice", b"now")
    assert store.get(prefix + "twice", max_bytes=5) == b"now"

    with (
        ObjectStore(dataclasses.replace(s3, bucket=f"test-{uuid4().hex}")) as nowhere,
        pytest.raises(ServiceError, match="NoSuchBucket"),
    ):
        nowhere.put("a", b"bytes")
    with pytest.raises(ServiceError, match="empty part"):
        store.put(f"{prefix}/../one", b"bytes")


def test_a_missing_object_is_the_images_fault(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(ImageError) as caught:
        store.get(prefix + "nothing", max_bytes=5)
    assert caught.value.reason == "missing_object"


def test_a_missing_bucket_is_not_the_images_fault(s3: S3Endpoint) -> None:
    with (
        ObjectStore(dataclasses.replace(s3, bucket=f"test-{uuid4().hex}")) as nowhere,
        pytest.raises(ServiceError, match="NoSuchBucket"),
    ):
        nowhere.get("a", max_bytes=5)


@pytest.mark.parametrize("key", ["/one", "one/", "./one", "two/../one", "//one", ""])
def test_a_key_with_an_empty_part_or_one_of_dots_reads_no_other_object(store: ObjectStore, key: str) -> None:
    store.put("one", b"other")
    with pytest.raises(ImageError) as caught:
        store.get(key, max_bytes=5)
    assert caught.value.reason == "missing_object"


def test_the_environment_says_nothing_about_the_store(
    s3: S3Endpoint, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "else",
        "AWS_SESSION_TOKEN": "token",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    with ObjectStore(s3) as store:
        store.put(prefix + "a", b"bytes")
        assert store.get(prefix + "a", max_bytes=5) == b"bytes"


def test_an_object_over_the_cap_is_the_images_fault_and_costs_no_connection(
    store: ObjectStore, prefix: str
) -> None:
    store.put(prefix + "large", b"x" * 1_000_000)
    for _ in range(50):
        with pytest.raises(ImageError) as caught:
            store.get(prefix + "large", max_bytes=999_999)
        assert caught.value.reason == "too_many_bytes"
    assert len(store.get(prefix + "large", max_bytes=1_000_000)) == 1_000_000


def test_many_are_written_and_listed_in_order(store: ObjectStore, prefix: str) -> None:
    keys = [f"{prefix}{number // 10}/{number:03d}" for number in range(40)]

    assert store.put_many((key, key.encode()) for key in keys) == 40

    assert list(store.list(prefix)) == keys
    assert list(store.list(prefix + "2/")) == keys[20:30]
    assert list(store.list(prefix + "nothing/")) == []


def test_a_bucket_is_made_once(s3: S3Endpoint) -> None:
    with ObjectStore(dataclasses.replace(s3, bucket=f"test-{uuid4().hex}")) as other:
        with pytest.raises(ServiceError, match="bucket"):
            other.put("a", b"a")
        other.ensure_bucket()
        other.ensure_bucket()
        other.put("a", b"a")
        assert list(other.list("")) == ["a"]


def test_wrong_keys_are_a_service_error(s3: S3Endpoint) -> None:
    with (
        ObjectStore(dataclasses.replace(s3, secret_key="wrong")) as stranger,
        pytest.raises(ServiceError, match=s3.endpoint),
    ):
        stranger.get("a", max_bytes=5)


def test_a_store_that_is_gone_is_a_service_error(s3: S3Endpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    gone = dataclasses.replace(s3, endpoint=f"127.0.0.1:{port}")
    with ObjectStore(gone) as store, pytest.raises(ServiceError, match=str(port)):
        store.get("a", max_bytes=5)
