from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from signals import declaration
from signals.declaration import FloatArray, SignalDeclaration, declared_signals, for_galaxy, signal
from signals.errors import ConfigurationError
from signals.inference import signal_values
from signals.visual import top5_classes, visual_embedding

FINITE = {"allow_nan": False, "allow_infinity": False, "width": 32}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    declared_signals()  # the shipped ones are in the copy
    monkeypatch.setattr(declaration, "_registry", dict(declaration._registry))


def test_shipped_signals_are_declared_for_every_galaxy() -> None:
    assert {(item.name, item.version) for item in declared_signals()} >= {
        ("visual_embedding", 1),
        ("top5_classes", 1),
    }
    assert visual_embedding in for_galaxy("pins")
    assert top5_classes in for_galaxy("anything")


def test_a_signal_is_declared_once_and_found_by_its_galaxies(registry: None) -> None:
    @signal(name="brightness", version=2, model_output="embedding", galaxies=("pins",))
    def brightness(embedding: FloatArray) -> FloatArray:
        return embedding.mean(axis=1)

    assert isinstance(brightness, SignalDeclaration)
    assert brightness in for_galaxy("pins")
    assert brightness not in for_galaxy("products")
    assert brightness(np.ones((3, 4), np.float32)).shape == (3,)
    with pytest.raises(ConfigurationError, match="brightness v2 is declared twice"):
        signal(name="brightness", version=2, model_output="logits")(lambda batch: batch)


@pytest.mark.parametrize(("name", "version"), [("a/b", 1), ("", 1), ("Upper", 1), ("fine", 0)])
def test_names_and_versions_that_can_not_be_keys_are_refused(name: str, version: int) -> None:
    with pytest.raises(ConfigurationError):
        signal(name=name, version=version, model_output="embedding")


def test_a_function_must_return_one_value_per_image(registry: None) -> None:
    broken = signal(name="broken", version=1, model_output="embedding")(lambda batch: batch[:1])
    with pytest.raises(ConfigurationError, match="one value per image"):
        broken(np.ones((3, 4), np.float32))


def test_a_function_that_changes_its_argument_changes_no_other_signal(registry: None) -> None:
    @signal(name="a_vandal", version=1, model_output="embedding")
    def a_vandal(embedding: FloatArray) -> FloatArray:
        embedding[:] = 0
        return embedding

    outputs = {"embedding": np.ones((2, 4), np.float32), "logits": np.ones((2, 9), np.float32)}
    for values in signal_values(outputs, "pins"):
        assert isinstance(values, dict)
        assert (values[a_vandal] == 0).all() and (values[visual_embedding] == 1).all()


def test_the_embedding_is_the_models_own() -> None:
    batch = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(visual_embedding(batch), batch)


@given(hnp.arrays(np.float32, (3, 20), elements=st.floats(-80, 80, **FINITE)))
def test_top5_is_ordered_by_probability_then_class(logits: FloatArray) -> None:
    value = top5_classes(logits)
    assert value.shape == (3, 5, 2) and value.dtype == np.float32
    classes, probabilities = value[..., 0].astype(int), value[..., 1]
    assert (np.diff(probabilities, axis=1) <= 0).all()
    assert (probabilities.sum(axis=1) <= 1 + 1e-5).all()
    for row, chosen in zip(logits, classes, strict=True):
        assert list(chosen) == sorted(range(20), key=lambda index: (-row[index], index))[:5]


@given(hnp.arrays(np.float32, (4, 7), elements=st.floats(-30, 30, **FINITE)))
def test_a_row_does_not_depend_on_its_neighbours(logits: FloatArray) -> None:
    together = top5_classes(logits)
    for index in range(len(logits)):
        assert np.array_equal(together[index], top5_classes(logits[index : index + 1])[0])


def test_a_module_that_can_not_be_imported_is_named_with_its_entry_point(tmp_path: Path) -> None:
    metadata = tmp_path / "broken-1.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text("[lkbench.signals]\nmine = broken_signals\n")
    (tmp_path / "broken_signals.py").write_text("import no_such_module\n")
    code = "import signals.declaration as d\ntry: d.declared_signals()\nexcept Exception as e: print(repr(e))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "ConfigurationError" in done.stdout, done.stderr
    for word in ("broken_signals", "mine of lkbench.signals", "no_such_module"):
        assert word in done.stdout
