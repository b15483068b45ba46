"""Declarations become a plan that names no engine; what can't run is refused before anything runs."""

from __future__ import annotations

import pytest

from kappa_pipeline.nrtg import ComputeSignals, StreamPlan, deploy, plan_signals
from signals.catalog import Catalog
from signals.declaration import FloatArray, SignalDeclaration, declared_signals
from signals.errors import ConfigurationError
from signals.record import record_key

SIGNATURE = "0123456789abcdef0123456789abcdef"


class RecordingEngine:
    name = "recorder"

    def __init__(self, *supports: type) -> None:
        self.supports = frozenset(supports)
        self.plans: list[StreamPlan] = []

    def run(self, plan: StreamPlan) -> None:
        self.plans.append(plan)


def declaration(**changes: object) -> SignalDeclaration:
    def identity(output: FloatArray) -> FloatArray:
        return output

    fields = {"name": "s", "version": 1, "model_output": "embedding", "galaxies": "*", "compare": "cosine"}
    return SignalDeclaration(**{**fields, "function": identity, **changes})  # type: ignore[arg-type]


def test_the_shipped_signals_are_planned_for_every_galaxy() -> None:
    catalog = Catalog.load()
    plan = plan_signals(declared_signals(), catalog, ["embedding", "logits"])
    assert [operator.galaxy for operator in plan.operators] == list(catalog.galaxies)
    galaxy = catalog.galaxies[0]
    keys = plan.compute(galaxy).keys(SIGNATURE)
    assert record_key(galaxy, "visual_embedding", 1, SIGNATURE) in keys
    assert record_key(galaxy, "top5_classes", 1, SIGNATURE) in keys


def test_a_signal_of_one_galaxy_is_planned_for_no_other() -> None:
    catalog = Catalog.load()
    mine, *others = catalog.galaxies
    plan = plan_signals([declaration(galaxies=(mine,))], catalog, ["embedding"])
    assert len(plan.compute(mine).signals) == 1
    assert all(plan.compute(other).signals == () for other in others)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"galaxies": ("atlantis",)}, "atlantis"), ({"model_output": "depth"}, "depth")],
)
def test_a_declaration_that_fits_neither_catalog_nor_model_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        plan_signals([declaration(**changes)], Catalog.load(), ["embedding"])


def test_a_plan_has_no_galaxy_outside_the_catalog() -> None:
    plan = plan_signals(declared_signals(), Catalog.load(), ["embedding", "logits"])
    with pytest.raises(ConfigurationError, match="atlantis"):
        plan.compute("atlantis")


def test_an_engine_runs_what_it_supports_and_is_not_started_with_what_it_does_not() -> None:
    plan = plan_signals(declared_signals(), Catalog.load(), ["embedding", "logits"])
    able, unable = RecordingEngine(ComputeSignals), RecordingEngine()
    deploy(plan, able)
    assert able.plans == [plan]
    with pytest.raises(ConfigurationError, match="recorder can't run ComputeSignals"):
        deploy(plan, unable)
    assert unable.plans == []
