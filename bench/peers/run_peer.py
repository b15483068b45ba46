"""Runs peers: starts their processes, hands images over, reads their outputs."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from bench.peers.figures import Observed, own_processes
from bench.peers.offer import Arrivals, offer_stream
from bench.peers.reference import Reference
from bench.peers.task import Peer, Programs, Task
from bench.services.startup import LOOPBACK, free_ports
from bench.throughput.stand import Stand, arrival_signature
from signals.errors import PipelineError, ServiceError
from signals.process import ProcessGroup, log_tail

START_SECONDS = 120.0
DRAIN_SECONDS = 900.0
POLL_SECONDS = 0.05
REQUEST_SECONDS = 15.0
_QUIET = {"DAFT_PROGRESS_BAR": "0", "DO_NOT_TRACK": "1", "DAFT_ANALYTICS_ENABLED": "0"}


@dataclass(frozen=True, slots=True)
class PeerRunner:
    """What peers are measured with."""

    stand: Stand
    model_dir: Path
    programs: Programs
    reference: Reference

    def observe(self, peer: Peer, images: int, arrivals: Arrivals) -> Observed:
        """Drain ``images`` images through it, once. Raises an error of the tree, PipelineError where its
        outputs are not those of the shared core."""
        folder = self.stand.folder / f"peer-{peer.name}-{secrets.token_hex(3)}"
        (folder / "output").mkdir(parents=True)
        inference = self.stand.config.inference
        task = Task.of_model(
            self.model_dir,
            workers=inference.workers,
            batch=inference.max_batch,
            s3=self.stand.endpoints.s3,
            output=folder / "output",
        )
        if peer.is_stream:
            seen, embeddings = self._stream(peer, images, arrivals, folder, task)
        else:
            seen, embeddings = self._batch(peer, images, folder, task)
        return dataclasses.replace(seen, smallest_cosine=self.reference.check(peer.name, embeddings))

    def _batch(self, peer: Peer, images: int, folder: Path, task: Task) -> tuple[Observed, dict[str, bytes]]:
        keys = self.stand.keys[:images]
        file = dataclasses.replace(task, keys=keys).save(folder / "task.json")
        with ProcessGroup(folder / "logs") as group, own_processes() as meter:
            started_ns = time.time_ns()
            child = group.start(
                peer.name, self.programs.command(peer), env=self._environment(peer, file), cwd=folder
            )
            child.expected = True  # its end is reported here
            deadline = time.monotonic() + DRAIN_SECONDS
            while (code := child.popen.poll()) is None:
                if time.monotonic() > deadline:
                    raise PipelineError(f"{peer.name} did not end in {DRAIN_SECONDS:.0f} s; see {child.log}")
                time.sleep(POLL_SECONDS)
        if code != 0:
            raise PipelineError(
                f"{peer.name} ended with code {code}; its log is {child.log}{log_tail(child.log)}"
            )
        files = [path for path in (folder / "output").rglob("*.parquet") if path.stat().st_size]
        table = pq.read_table(files, columns=["key", "embedding", "done_ns"])
        embeddings = dict(zip(table["key"].to_pylist(), table["embedding"].to_pylist(), strict=True))
        if len(embeddings) != images or table.num_rows != images:
            raise PipelineError(
                f"{peer.name} wrote {len(embeddings)} of {images} images; its log is {child.log}"
            )
        completed = np.sort(table["done_ns"].to_numpy())
        end_ns = max(path.stat().st_mtime_ns for path in files)
        return Observed(started_ns, completed, max(end_ns, int(completed[-1])), meter), embeddings

    def _stream(
        self, peer: Peer, images: int, arrivals: Arrivals, folder: Path, task: Task
    ) -> tuple[Observed, dict[str, bytes]]:
        namespace = folder.name
        addresses = tuple(f"{LOOPBACK}:{port}" for port in free_ports(task.workers))
        task = dataclasses.replace(
            task,
            kafka=self.stand.endpoints.kafka_bootstrap,
            input_topic=f"{namespace}.in",
            output_topic=f"{namespace}.out",
            addresses=addresses,
        )
        file = task.save(folder / "task.json")
        with ProcessGroup(folder / "logs") as group, _topics(self.stand, task) as topics:
            for worker in range(task.workers):
                env = {**self._environment(peer, file), "PEER_WORKER": str(worker)}
                group.start(f"{peer.name}_{worker}", self.programs.command(peer), env=env, cwd=folder)
            offer = offer_stream(
                topics.submit,
                lambda numbers: topics.wait(numbers, group, DRAIN_SECONDS),
                images,
                arrivals,
                wait_for_start=lambda numbers: topics.wait(numbers, group, START_SECONDS),
            )
        return offer.observed(topics.done_ns), topics.embeddings

    def _environment(self, peer: Peer, task: Path) -> dict[str, str]:
        python = self.programs.command(peer)[0]
        path = str(self.programs.folder.absolute())  # processes that an engine starts import from there, too
        return {"PEER_TASK": str(task), "PYTHONPATH": path, "PYSPARK_PYTHON": python, **_QUIET}


class _Topics:
    """The two topics of one stream program; the broker stamps outputs with the time at which it has them."""

    def __init__(self, stand: Stand, task: Task, consumer: Consumer) -> None:
        self._keys = stand.keys
        self._numbers: dict[str, int] = {}  # of each object's last arrival; all before it were waited for
        self._task, self._consumer = task, consumer
        self._producer = Producer({"bootstrap.servers": task.kafka, "log_level": 3, "linger.ms": 0})
        self.done_ns: dict[int, int] = {}
        self.embeddings: dict[str, bytes] = {}  # by object key

    def submit(self, number: int, scheduled_ns: int) -> None:
        """Produce one image's key; the partition follows from the image, as in the media topic."""
        key = self._keys[number % len(self._keys)]
        self._numbers[key] = number
        self._producer.produce(
            self._task.input_topic,
            key.encode(),
            arrival_signature(number).encode(),
            timestamp=scheduled_ns // 1_000_000,
        )
        self._producer.poll(0)

    def wait(self, numbers: range, group: ProcessGroup, timeout_seconds: float) -> int:
        """Until all are done; when the last one was, Unix ns. Raises ServiceError where a process died,
        PipelineError where it takes long."""
        self._producer.flush(REQUEST_SECONDS)
        deadline = time.monotonic() + timeout_seconds
        left = set(numbers) - self.done_ns.keys()
        while left:
            for message in self._consumer.consume(1000, timeout=0.2):
                if message.error():
                    raise ServiceError(f"Kafka: {message.error()}")
                key = message.key().decode()
                number = self._numbers[key]
                self.done_ns.setdefault(number, message.timestamp()[1] * 1_000_000)
                self.embeddings.setdefault(key, message.value())
                left.discard(number)
            group.check()
            if time.monotonic() > deadline:
                child = group.children[0]
                raise PipelineError(
                    f"{child.name}: {len(left)} images are not done after {timeout_seconds:.0f} s; its log "
                    f"is {child.log}{log_tail(child.log)}"
                )
        return max(self.done_ns[number] for number in numbers)


@contextmanager
def _topics(stand: Stand, task: Task) -> Iterator[_Topics]:
    client = {"bootstrap.servers": task.kafka, "log_level": 3}
    stamped = {"message.timestamp.type": "LogAppendTime"}
    wanted = [
        NewTopic(task.input_topic, task.workers),
        NewTopic(task.output_topic, 1, config=stamped),
    ]
    admin = AdminClient(client)
    for topic, made in admin.create_topics(wanted).items():
        try:
            made.result(REQUEST_SECONDS)
        except KafkaException as error:
            raise ServiceError(f"the Kafka topic {topic} can't be created: {error}") from error
    consumer = Consumer({**client, "group.id": "peers", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(task.output_topic, 0, 0)])
        yield _Topics(stand, task, consumer)
    finally:
        consumer.close()
        admin.delete_topics([task.input_topic, task.output_topic])
