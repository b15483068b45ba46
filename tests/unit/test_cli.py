from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import onnx
import orjson
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from bench.cli import COMMANDS, MALLOC, cli, main
from bench.commands.duration import Duration
from bench.exit_codes import ExitCode
from bench.manifest import machine
from bench.results import write_result
from bench.run_folder import find_run
from signals.errors import ConfigurationError
from signals.model import Model
from tests.unit.synthetic_run import complete_run


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("30s", 30), ("2m", 120), ("24h", 86_400), ("0.5", 0.5), ("250ms", 0.25), ("1d", 86_400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "-3s", "soon", "3x", "3sm", "nan", "inf"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="30s"):
        Duration().convert(text, None, None)


def run_folder(output: Path, name: str) -> Path:
    folder = output / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(orjson.dumps({"run_id": name}))
    return folder


def test_a_run_is_found_by_id_by_folder_and_as_the_latest(tmp_path: Path) -> None:
    older, newer = run_folder(tmp_path, "20260101-000000-a"), run_folder(tmp_path, "20260102-000000-b")
    assert find_run(older.name, tmp_path) == older
    assert find_run(str(older), Path("elsewhere")) == older
    assert find_run("latest", tmp_path) == newer
    with pytest.raises(ConfigurationError, match="neither a run folder"):
        find_run("20260103", tmp_path)
    with pytest.raises(ConfigurationError, match="lkbench run"):
        find_run("latest", tmp_path / "empty")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], ExitCode.OK),
        (["datasets"], ExitCode.OK),
        (["no-such-command"], ExitCode.BAD_CONFIGURATION),
        (["run", "--rate", "fast"], ExitCode.BAD_CONFIGURATION),
        (["run", "--rate", "nan"], ExitCode.BAD_CONFIGURATION),
        (["run", "--load", "inf"], ExitCode.BAD_CONFIGURATION),
        (["generator", "--rate", "inf"], ExitCode.BAD_CONFIGURATION),
        (["report", "--output", "no-such-folder"], ExitCode.BAD_CONFIGURATION),
        (["verify", "no-such-run"], ExitCode.BAD_CONFIGURATION),
        (["import-model", "none.onnx", "--output-of", "embedding"], ExitCode.BAD_CONFIGURATION),
        (["import-model", "none.onnx", "--output-of", "embedding=x"], ExitCode.BAD_CONFIGURATION),
    ],
)
def test_exit_codes(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "verify", "cost", "compare latest", "export"])
def test_a_damaged_result_is_named_by_every_command_that_reads_it(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder(tmp_path, "run-1") / "result.json").write_bytes(b'{"run_id": "ru')
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "latest", "--output", str(tmp_path)])
    assert stopped.value.code == ExitCode.BAD_CONFIGURATION
    assert "result.json is no JSON" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "cost", "compare latest", "export"])
def test_what_a_result_lacks_is_named_by_every_command_that_shows_it(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = complete_run(tmp_path / "run-1").write() / "result.json"
    result = write_result(path.parent)
    path.write_bytes(orjson.dumps({name: part for name, part in result.items() if name != "validity"}))
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "latest", "--output", str(tmp_path)])
    assert stopped.value.code == ExitCode.BAD_CONFIGURATION
    assert "'validity' is a required property" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--images", "/nope"], "data sets are"),
        (["--arms", "foo"], "no arm is called 'foo'"),
        (["--config", "nope.toml"], "nope.toml can't be read"),
    ],
)
def test_a_wrong_option_of_a_run_is_all_that_is_told(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused_run([*options, "--output", str(tmp_path)], capsys)
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_there_is_a_wrong_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, output = tmp_path / "lkbench.toml", tmp_path / "runs"
    config.write_text('[model]\npath = "absent"\n')
    error = refused_run(["--config", str(config), "--output", str(output)], capsys)
    assert error.startswith(f"error: [model] path: there is no model in {tmp_path / 'absent'}")
    assert not output.exists()


def refused_run(options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["run", *options])
    assert stopped.value.code == ExitCode.BAD_CONFIGURATION
    return capsys.readouterr().err


def test_an_invalid_run_says_that_it_was_not_tagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FinishedRun:
        def __init__(self, *_arguments: object) -> None:
            self.run_dir = complete_run(tmp_path / "run-1").write()

        def execute(self, _on_checked: object) -> dict[str, Any]:
            return write_result(self.run_dir) | {"validity": {"valid": False}}

    monkeypatch.setattr("bench.commands.run.Run", FinishedRun)
    done = CliRunner().invoke(cli, ["run", "--tag", "main"])
    assert done.exit_code == ExitCode.INVALID_RUN
    assert done.stderr.splitlines()[-1] == "not tagged main: the run is INVALID"


@pytest.mark.parametrize("option", ["--days", "--replicates", "--rate", "--load"])
@pytest.mark.parametrize("value", ["0", "-1"])
def test_a_run_of_nothing_is_refused_and_not_taken_for_one_of_the_default_size(
    option: str, value: str
) -> None:
    done = CliRunner().invoke(cli, ["run", option, value])
    assert done.exit_code == ExitCode.BAD_CONFIGURATION
    assert f"'{option}'" in done.stderr and "is not in the range x>" in done.stderr


@pytest.mark.parametrize(("given", "inherited"), [(None, MALLOC), ("", "")])
def test_what_is_started_asks_for_large_pages_unless_the_user_said_otherwise(
    given: str | None, inherited: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", given or "")
    if given is None:
        monkeypatch.delenv("GLIBC_TUNABLES")
    with pytest.raises(SystemExit):
        main(["datasets"])
    assert capsys.readouterr().err == ""
    assert os.environ["GLIBC_TUNABLES"] == machine()["glibc_tunables"] == inherited


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    command = COMMANDS[name].load()
    assert command.name == name
    assert COMMANDS[name].help == command.get_short_help_str(limit=1000)


def test_help_waits_for_no_library_of_a_command() -> None:
    code = "import bench.cli, sys; print([n for n in sys.argv[1:] if n in sys.modules])"
    heavy = ["duckdb", "matplotlib", "numpy", "onnxruntime", "pandas", "pyarrow", "scipy"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_an_own_model_becomes_a_folder_that_a_run_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKBENCH_CACHE", str(tmp_path / "cache"))
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["features"]),
        ],
        "mean_colour",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3])],
    )
    path = tmp_path / "mean colour.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    options = ["--output-of", "embedding=features", "--output-of", "logits=features", "--input-size", "32"]
    result = CliRunner().invoke(cli, ["import-model", str(path), *options], catch_exceptions=False)
    assert result.exit_code == 0
    model = Model.load(Path(result.output.strip()))
    assert model.manifest.input_size == 32
    assert set(model.manifest.outputs) == {"embedding", "logits"}
