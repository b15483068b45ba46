from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from lambda_pipeline.offline.graph import Step, StepRecord, Workflow
from lambda_pipeline.offline.workflow import nightly_workflow
from signals.errors import ConfigurationError, PipelineError


def give(**outputs: Any) -> Any:
    def run(state: list[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
        state.append(f"{','.join(outputs)}<-{sorted(inputs.items())}")
        return dict(outputs)

    return run


def fail(state: list[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
    raise ValueError("no luck")


def test_steps_run_after_what_they_depend_on_and_get_its_outputs() -> None:
    workflow: Workflow[list[str]] = Workflow(
        [
            Step("last", give(), ("middle",), inputs=("b", "a")),
            Step("middle", give(b=2), ("first",), inputs=("a",), outputs=("b",)),
            Step("first", give(a=1), inputs=("day",), outputs=("a",)),
        ],
        given=("day",),
    )
    ran: list[str] = []
    seen: list[tuple[str, str]] = []
    records = workflow.run(
        ran, {"day": 7}, lambda records: seen.append((records[-1].name, records[-1].outcome))
    )
    assert ran == ["a<-[('day', 7)]", "b<-[('a', 1)]", "<-[('a', 1), ('b', 2)]"]
    assert seen == [(name, how) for name in ("first", "middle", "last") for how in ("running", "ok")]
    assert [(r.inputs, r.outputs) for r in records] == [
        ({"day": 7}, {"a": 1}),
        ({"a": 1}, {"b": 2}),
        ({"a": 1, "b": 2}, {}),
    ]
    for before, after in itertools.pairwise(records):
        assert before.start_ns <= before.end_ns <= after.start_ns


def test_a_failing_step_is_named_recorded_and_the_last_to_start() -> None:
    workflow: Workflow[list[str]] = Workflow(
        [Step("good", give()), Step("bad", fail, ("good",)), Step("never", give(), ("bad",))]
    )
    kept: list[list[StepRecord]] = []
    with pytest.raises(PipelineError, match="step bad failed: no luck"):
        workflow.run([], {}, kept.append)
    last = kept[-1]
    assert [(r.name, r.outcome, r.detail) for r in last] == [
        ("good", "ok", ""),
        ("bad", "error", "ValueError: no luck"),
    ]
    assert last[-1].end_ns >= last[-1].start_ns > 0


def test_a_step_that_gives_something_else_than_declared_fails() -> None:
    workflow: Workflow[list[str]] = Workflow([Step("odd", give(b=1), outputs=("a",))])
    with pytest.raises(PipelineError, match="odd"):
        workflow.run([], {}, lambda _: None)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([Step("a", fail), Step("a", fail)], "same name"),
        ([Step("a", fail, ("b",))], "unknown"),
        ([Step("a", fail, ("b",)), Step("b", fail, ("a",))], "each other"),
        ([Step("a", fail, inputs=("x",))], "needs x"),
        ([Step("a", fail, outputs=("x",)), Step("b", fail, inputs=("x",))], "needs x"),
        ([Step("a", fail, outputs=("x",)), Step("b", fail, outputs=("x",))], "x is given by a and b"),
    ],
)
def test_a_graph_that_cannot_work_is_refused(steps: list[Step[list[str]]], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Workflow(steps)


def test_the_nightly_workflow_is_the_numbered_chain() -> None:
    steps = nightly_workflow().steps
    assert [s.name for s in steps[1:]] == [
        "step1_delta",
        "step2_enqueue",
        "step3_pool",
        "step4_infer",
        "step5_protobuf",
        "step6_thrift",
        "step7_hive",
        "step8_upload",
        "step9_serve",
    ]
    for before, after in itertools.pairwise(steps):
        assert after.depends_on == (before.name,)
