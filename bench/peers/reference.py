"""The shared core's embeddings of a sample, which a peer's must equal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.throughput.stand import Stand
from bench.vectors import THRESHOLD, cosines
from signals.catalog import Catalog
from signals.compute import load_image
from signals.errors import PipelineError
from signals.inference import InferenceEngine
from signals.model import Model

SAMPLE = 200
BATCH = 8

Vector = npt.NDArray[np.float32]


class Reference:
    """Embeddings of SAMPLE images, spread evenly over the first ``count``."""

    def __init__(self, stand: Stand, model_dir: Path, count: int) -> None:
        engine = InferenceEngine(Model.load(model_dir))
        media = Catalog.load(stand.config.catalog).pipeline(stand.pipeline).media
        numbers = range(0, count, max(1, count // SAMPLE))
        self._vectors: dict[str, Vector] = {}
        for start in range(0, len(numbers), BATCH):
            chunk = numbers[start : start + BATCH]
            tensors = [
                load_image(stand.dataset.images[n].path.read_bytes(), media, engine.model.manifest)
                for n in chunk
            ]
            rows = engine.run(np.stack(tensors))["embedding"]
            self._vectors |= {stand.keys[n]: row for n, row in zip(chunk, rows, strict=True)}

    def check(self, name: str, embeddings: Mapping[str, bytes]) -> float:
        """The smallest cosine of the sample. Raises PipelineError where it is below THRESHOLD."""
        shared = [vector.tobytes() for vector in self._vectors.values()]
        smallest = float(cosines(shared, [embeddings[key] for key in self._vectors], "cosine").min())
        if smallest < THRESHOLD:
            raise PipelineError(f"{name}: its embeddings are other ones, smallest cosine {smallest:.6f}")
        return smallest
