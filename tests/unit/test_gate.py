from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from bench.cli import main
from bench.compare.comparison import DETECT
from bench.exit_codes import ExitCode, describe
from bench.gate.configuration import load_thresholds
from bench.gate.documents import gate_markdown, gate_table
from bench.gate.evaluate import GateReport, Outcome, run_gate
from bench.gate.threshold import known_metrics, parse_threshold
from bench.metrics import measure
from signals.errors import ConfigurationError
from tests.unit.synthetic_result import INFERENCE, side, synthetic_result, write_run

STAGE = INFERENCE.removesuffix("_seconds")
QUIET = [0.0100, 0.0101, 0.0099, 0.01005, 0.00995, 0.01002]


def known() -> dict[str, Any]:
    found = {m.id: m.definition for m in measure(synthetic_result("a", [0.01]))}
    return known_metrics(found, ["lambda", "kappa"])


def gate(*texts: str, head: dict[str, Any] | None = None, base: dict[str, Any] | None = None) -> GateReport:
    return run_gate(
        texts,
        side("head", head or synthetic_result("head", [0.01])),
        None if base is None else side("base", base),
        detect=DETECT,
    )


def invalid(run_id: str) -> dict[str, Any]:
    result = synthetic_result(run_id, [0.01])
    result["validity"].update(valid=False, verdict="INVALID")
    result["validity"]["rules"][0] |= {"ok": False, "reason": "it was aborted", "advice": "run it again"}
    return result


@pytest.mark.parametrize(
    ("text", "metric_id", "limit", "is_relative"),
    [
        ("kappa.online.p95 < 2 s", "kappa.online.p95_seconds", 2.0, False),
        ("kappa.online.p95_seconds<250ms", "kappa.online.p95_seconds", 0.25, False),
        ("lambda.nightly.allocated <= 30 min", "lambda.nightly.allocated_hours", 0.5, False),
        ("lambda.gpu_hours <= +3 % vs base", "lambda.gpu_hours", 0.03, True),
        ("kappa.sustained >= -5% vs base", "kappa.sustained_per_second", -0.05, True),
        ("kappa.sustained > 100 /s", "kappa.sustained_per_second", 100.0, False),
        ("agreement == 1", "agreement", 1.0, False),
        ("agreement.lowest_cosine >= 0.9999", "agreement.lowest_cosine", 0.9999, False),
        (f"{STAGE} < 20 ms", INFERENCE, 0.02, False),
    ],
)
def test_the_grammar(text: str, metric_id: str, limit: float, is_relative: bool) -> None:
    threshold = parse_threshold(text, known())
    assert threshold.metric_id == metric_id
    assert threshold.limit == pytest.approx(limit)
    assert threshold.is_relative is is_relative


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kappa.onlin.p95 < 2 s", "do you mean kappa.online.p95"),
        ("lamda.gpu_hours < 2 h", "do you mean lambda.gpu_hours"),
        ("kappa.online.p95 < 2", "the unit is missing; it takes us or ms or s or min or h"),
        ("kappa.online.p95 < 2 sec", "do you mean s"),
        ("kappa.online.p95 < 2 GB", "no unit of it"),
        ("kappa.inferences < 2 s", "takes no unit"),
        ("kappa.online.p95 == 2 s", "never exact"),
        ("kappa.online.p95 <= 3 % vs base", "is no limit"),
        ("kappa.online.p95 <= 3 %", "with its sign"),
        ("kappa.online.p95 <= +3 % vs main", "is no limit"),
        ("kappa.inferences == +3 % vs base", "not with =="),
        ("kappa.online.p95", "is not understood"),
        ("kappa.online.p95 =< 2 s", "is not understood"),
        ("kappa.online.p95 < nan s", "is no limit"),
        ("", "is not understood"),
    ],
)
def test_what_the_grammar_refuses_and_what_it_suggests(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_threshold(text, known())
    assert words in str(error.value)


def test_thresholds_hold_or_are_broken_with_limit_and_actual() -> None:
    report = gate("kappa.online.p50 < 2 s", "kappa.online.p50 < 1 ms", "agreement == 1")
    assert [check.outcome for check in report.checks] == [Outcome.HOLDS, Outcome.BREACHED, Outcome.HOLDS]
    assert (report.checks[1].limit, report.checks[1].actual) == ("< 1.00 ms", "40.0 ms")
    assert report.exit_code is ExitCode.THRESHOLD_BREACHED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kappa.online.p99 < 1 h", "needs 459 samples"),
        ("kappa.gpu_hours < 1 h", "no device is booked in GPU hours"),
        ("kappa.nightly.busy < 1 h", "no such arm or pool"),
    ],
)
def test_what_was_not_measured_does_not_hold(text: str, reason: str) -> None:
    report = gate(text)
    assert report.checks[0].outcome is Outcome.NOT_MEASURED
    assert reason in report.checks[0].note
    assert report.exit_code is ExitCode.THRESHOLD_BREACHED


def test_changes_against_a_base() -> None:
    base = synthetic_result("base", QUIET)
    slower = synthetic_result("head", [1.1 * value for value in QUIET])
    text = f"{STAGE} <= +3 % vs base"
    assert gate(text, head=slower, base=base).exit_code is ExitCode.REGRESSION
    assert gate(text, head=base, base=slower).exit_code is ExitCode.OK  # faster is fine
    assert gate(f"{STAGE} <= +20 % vs base", head=slower, base=base).exit_code is ExitCode.OK
    few = gate(text, head=synthetic_result("h", QUIET[:3]), base=synthetic_result("b", QUIET[:3]))
    assert few.exit_code is ExitCode.NOT_DECIDABLE
    assert "more replicates" in few.checks[0].note
    with pytest.raises(ConfigurationError, match="needs a base"):
        gate(text)


def test_noise_beyond_the_limit_is_no_regression() -> None:
    noisy = [0.005, 0.02, 0.01, 0.012, 0.007, 0.015]
    report = gate(
        f"{STAGE} <= +1 % vs base",
        head=synthetic_result("h", [1.1 * value for value in noisy]),
        base=synthetic_result("b", noisy),
    )
    assert report.exit_code is ExitCode.OK
    assert "can't be told from noise; with 95 % confidence it is below" in report.checks[0].note


def test_counts_are_gated_without_replicates() -> None:
    base, head = synthetic_result("b", [0.01]), synthetic_result("h", [0.01])
    head["arms"]["kappa"]["replicates"]["1"]["recomputed"]["inferences"] += 1
    text = "kappa.inferences <= +0 % vs base"
    assert gate(text, head=head, base=base).exit_code is ExitCode.REGRESSION
    assert gate(text, head=base, base=head).exit_code is ExitCode.OK


@pytest.mark.parametrize(
    ("factor", "noise", "outcome", "words"),
    [
        (0.8, 1.0, Outcome.HOLDS, ""),
        (1.0, 1.0, Outcome.REGRESSED, "with 95 % confidence the change is above"),
        (0.95, 1.0, Outcome.REGRESSED, "p "),
        (1.0, 20.0, Outcome.NOT_DECIDABLE, "more replicates"),
    ],
)
def test_a_gain_that_is_asked_for_must_be_there(
    factor: float, noise: float, outcome: Outcome, words: str
) -> None:
    base = [0.01 * (value / 0.01) ** noise for value in QUIET]
    head = [factor * value for value in reversed(base)]
    (check,) = gate(
        f"{STAGE} <= -10 % vs base",
        head=synthetic_result("h", head),
        base=synthetic_result("b", base),
    ).checks
    assert check.outcome is outcome
    assert words in check.note


def test_the_note_names_the_end_of_the_doubt_that_the_threshold_limits() -> None:
    noisy = [0.005, 0.02, 0.01, 0.012, 0.007, 0.015]
    (check,) = gate(
        f"{STAGE} >= -1 % vs base",
        head=synthetic_result("h", [0.9 * value for value in noisy]),
        base=synthetic_result("b", noisy),
    ).checks
    assert "with 95 % confidence it is above -" in check.note


def test_a_count_must_hold_in_each_replicate() -> None:
    """One that is wrong among many is no outlier."""
    base, head = synthetic_result("b", QUIET[:4]), synthetic_result("h", QUIET[:4])
    inferences = base["arms"]["kappa"]["replicates"]["1"]["recomputed"]["inferences"]
    head["arms"]["kappa"]["replicates"]["4"]["recomputed"]["inferences"] += 9
    texts = (f"kappa.inferences <= {inferences}", "kappa.inferences <= +1 % vs base")
    absolute, relative = gate(*texts, head=head, base=base).checks
    assert (absolute.outcome, relative.outcome) == (Outcome.BREACHED, Outcome.REGRESSED)
    assert absolute.actual == f"{inferences + 9}"
    assert absolute.note == relative.note == "the worst of 4 replicates"
    assert gate(*texts, head=base, base=head).exit_code is ExitCode.OK
    (least,) = gate(f"kappa.inferences >= {inferences + 1}", head=head).checks
    assert (least.outcome, least.actual) == (Outcome.BREACHED, f"{inferences}")


def test_a_metric_that_one_of_the_runs_lacks_was_not_measured() -> None:
    """Without it, runs would be paired that did not run in turn."""
    base = side("base", *(synthetic_result(f"b{n}", [value]) for n, value in enumerate(QUIET)))
    heads = [synthetic_result(f"h{n}", [value]) for n, value in enumerate(QUIET)]
    of_first = heads[0]["arms"]["kappa"]
    for content in (of_first, of_first["replicates"]["1"]):
        content["stage_parts"]["rows"] = []
    report = run_gate([f"{STAGE} <= +3 % vs base"], side("head", *heads), base, is_paired=True, detect=DETECT)
    assert report.checks[0].outcome is Outcome.NOT_MEASURED
    assert "no such arm or pool" in report.checks[0].note


def test_an_invalid_run_passes_no_gate_on_either_side(tmp_path: Path) -> None:
    bad, good = invalid("bad"), synthetic_result("good", [0.01])
    for head, base in ((bad, None), (bad, good), (good, bad)):
        report = gate("agreement == 1", head=head, base=base)
        assert report.exit_code is ExitCode.INVALID_RUN
        assert not report.checks


def test_thresholds_come_from_a_project_or_a_file(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.lkbench.gate]\nthresholds = ["agreement == 1"]\n')
    assert load_thresholds(project) == ["agreement == 1"]
    own = tmp_path / "gate.toml"
    own.write_text('thresholds = ["agreement == 1"]\n')
    assert load_thresholds(own) == ["agreement == 1"]
    lines = tmp_path / "gate.txt"
    lines.write_text("# what must hold\nagreement == 1  # always\n\nkappa.online.p95 < 2 s\n")
    assert load_thresholds(lines) == ["agreement == 1", "kappa.online.p95 < 2 s"]
    for text, words in (
        ("[tool.other]\n", "names no threshold"),
        ("[tool.lkbench.gate]\nlimits = []\n", "one key"),
        ("[tool.lkbench.gate]\nthresholds = 3\n", "list of strings"),
        ("[tool", "pyproject.toml"),
    ):
        project.write_text(text)
        with pytest.raises(ConfigurationError, match=words):
            load_thresholds(project)
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_thresholds(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["good", "-t", "agreement == 1"], ExitCode.OK),
        (["good", "-t", "kappa.online.p50 < 1 ms"], ExitCode.THRESHOLD_BREACHED),
        (["good", "-t", "kappa.online.p99 < 1 h"], ExitCode.THRESHOLD_BREACHED),
        (["slow", "--base", "good", "-t", f"{STAGE} <= +3 % vs base"], ExitCode.REGRESSION),
        (["few", "--base", "few", "-t", f"{STAGE} <= +3 % vs base"], ExitCode.NOT_DECIDABLE),
        (["bad", "-t", "agreement == 1"], ExitCode.INVALID_RUN),
        (["good", "--base", "bad", "-t", "agreement == 1"], ExitCode.INVALID_RUN),
        (["good", "--base", "other", "-t", "agreement == 1"], ExitCode.UNLIKE_RUNS),
        (["good", "-t", "agrement == 1"], ExitCode.BAD_CONFIGURATION),
        (["good", "--thresholds", "none.toml"], ExitCode.BAD_CONFIGURATION),
        (["none", "-t", "agreement == 1"], ExitCode.BAD_CONFIGURATION),
    ],
)
def test_exit_codes(
    arguments: list[str], code: ExitCode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = synthetic_result("other", QUIET)
    other["provenance"]["seed"] = 99
    for result in (
        synthetic_result("good", QUIET),
        synthetic_result("slow", [1.1 * value for value in QUIET]),
        synthetic_result("few", QUIET[:3]),
        other,
        invalid("bad"),
    ):
        write_run(tmp_path, result)
    junit = tmp_path / "junit.xml"
    with pytest.raises(SystemExit) as stopped:
        main(["gate", *arguments, "--output", str(tmp_path), "--junit", str(junit)])
    assert stopped.value.code == code
    assert "Traceback" not in capsys.readouterr().err
    if code in (ExitCode.OK, ExitCode.THRESHOLD_BREACHED, ExitCode.REGRESSION, ExitCode.INVALID_RUN):
        suites = ET.parse(junit).getroot()
        problems = int(suites.get("failures", "")) + int(suites.get("errors", ""))
        assert (problems > 0) == (code is not ExitCode.OK)
        assert int(suites.get("tests", "")) == 1


def test_interruption_and_an_error_of_the_tool_have_codes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, synthetic_result("good", QUIET))
    for error, code in ((KeyboardInterrupt(), ExitCode.INTERRUPTED), (OSError("no"), ExitCode.TOOL_ERROR)):

        def fail(*arguments: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("bench.commands.gate.find_side", fail)
        with pytest.raises(SystemExit) as stopped:
            main(["gate", "good", "-t", "agreement == 1"])
        assert stopped.value.code == code


def test_what_fails_says_what_to_do() -> None:
    report = gate("kappa.online.p50 < 1 ms")
    assert len(report.advice) == 1
    assert report.advice[0].startswith("BREACHED: ")
    assert f"- {report.advice[0]}" in gate_markdown(report).replace("\\", "")
    assert not gate("agreement == 1").advice
    bad = invalid("bad")
    advice = bad["validity"]["rules"][0]["advice"]
    report = gate("agreement == 1", head=bad)
    assert advice in gate_markdown(report).replace("\\", "")
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(gate_table(report))
    verdict, reason = capture.get().splitlines()
    assert verdict == "gate failed (6): run bad is INVALID: its figures don't count"
    assert reason.startswith(bad["validity"]["rules"][0]["id"]) and advice in reason


def test_every_code_is_explained() -> None:
    text = describe()
    assert all(f"{code.value:>4}  " in text for code in ExitCode)
    assert len({code.value for code in ExitCode}) == len(ExitCode)
