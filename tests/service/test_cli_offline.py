"""The command line without a server: help is fast, errors teach, doctor answers."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.doctor import TRANSFORMERS
from service.cli.main import app
from service.client.progress import job_line, job_state
from service.client.types import ErrorReport, JobSnapshot, Route

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "127.0.0.1:1"
COMMANDS = [
    ["serve"],
    ["worker"],
    ["setup"],
    ["ask"],
    ["doctor"],
    ["top"],
    ["corpus"],
    ["corpus", "add"],
    ["corpus", "ls"],
    ["corpus", "show"],
    ["corpus", "rm"],
    ["cartridge"],
    ["cartridge", "train"],
    ["cartridge", "ls"],
    ["cartridge", "show"],
    ["cartridge", "rm"],
    ["cartridge", "inspect"],
    ["cartridge", "export"],
    ["cartridge", "import"],
    ["tenant"],
    ["tenant", "ls"],
    ["tenant", "remove"],
    ["jobs"],
    ["jobs", "ls"],
    ["jobs", "watch"],
    ["jobs", "cancel"],
]
CALLS = [
    ["corpus", "ls"],
    ["corpus", "show", "books"],
    ["corpus", "rm", "books", "--yes"],
    ["cartridge", "train", "books"],
    ["cartridge", "ls"],
    ["cartridge", "show", "books/one"],
    ["cartridge", "rm", "books/one"],
    ["ask", "books", "What?"],
    ["jobs", "ls"],
    ["jobs", "watch", "one"],
    ["jobs", "cancel", "one"],
]


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_starting_imports_nothing_heavy() -> None:
    heavy = (
        "('torch', 'transformers', 'grpc', 'faiss', 'google.protobuf', 'rich', 'prometheus_client')"
    )
    code = f"import sys, service.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_without_a_server_every_call_says_how_to_start_one(call: list[str]) -> None:
    result = CliRunner().invoke(app, [*call, "--server", NOWHERE])
    assert result.exit_code == 1
    assert f"no server answers at {NOWHERE}" in result.stderr
    assert "longmemory serve" in result.stderr
    assert not result.stdout


def test_the_address_may_come_from_the_environment() -> None:
    result = CliRunner().invoke(app, ["jobs", "ls"], env={"LONGMEMORY_SERVER": NOWHERE})
    assert NOWHERE in result.stderr


def test_with_json_an_error_is_one_document_on_stdout() -> None:
    result = CliRunner().invoke(app, ["ask", "books", "What?", "--json", "--server", NOWHERE])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["reason"] == "SERVER_UNREACHABLE"


def test_a_route_that_does_not_exist_is_refused_with_the_list() -> None:
    result = CliRunner().invoke(app, ["ask", "books", "What?", "--route", "rag"])
    assert result.exit_code == 2
    assert all(route in result.stderr for route in Route)


def test_paths_without_text_are_refused_before_any_call(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\0")
    add = ["corpus", "add", "books", "--server", NOWHERE]
    result = CliRunner().invoke(app, [*add, str(tmp_path)])
    assert result.exit_code == 1
    assert "image.png is binary" in result.stderr
    result = CliRunner().invoke(app, [*add, str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "does not exist" in result.stderr


def test_doctor_answers_in_json(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = ["doctor", "--json", "--data", str(data), "--server", NOWHERE]
    result = CliRunner().invoke(app, command)
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["ok"] else 1)
    found = {check["name"]: check for check in report["checks"]}
    assert found["python"]["status"] == "ok"
    assert found["data folder"]["status"] == "ok"
    assert found["converted model"]["mend"] == "longmemory setup"
    assert all(check["mend"] for check in report["checks"] if check["status"] != "ok")
    assert not data.exists()


def test_doctor_knows_the_range_of_transformers_in_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest, above = (".".join(map(str, end)) for end in TRANSFORMERS)
    assert f"transformers>={lowest},<{above}" in project["dependencies"]


def test_training_is_told_by_its_figures() -> None:
    metrics = {"step": 3, "steps": 9, "loss": 1.5, "recovered": 0.5, "seconds_left": 65}
    job = JobSnapshot(
        "operations/a", "train", "corpora/b", "", "running", 0.3, "steps", 1, metrics, False, None
    )
    assert job_line(job) == "step 3/9 · loss 1.500 · recovered 50% · 1:05 left"
    assert job_state(job) == "running"


def test_a_job_that_was_cancelled_is_not_called_failed() -> None:
    error = ErrorReport("CANCELLED", "JOB_CANCELLED", "cancelled")
    job = JobSnapshot("operations/a", "index", "", "", "done", 0.3, "", 1, {}, True, error)
    assert job_state(job) == "cancelled"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["worker", "--lease", "0.1"], "lease"),
        (["worker", "--state", "http://127.0.0.1"], "state"),
        (["worker", "--state", "redis://:word@127.0.0.1:1/0"], "STATE_UNAVAILABLE"),
        (["serve", "--state", "redis://:word@127.0.0.1:1/0"], "STATE_UNAVAILABLE"),
        (["serve", "--state", "memory"], "state"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_state_that_cannot_be_used_is_said_so_at_once(
    flags: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.state.redis_store.ANSWER_SECONDS", 0.2)
    told = CliRunner().invoke(app, [*flags, "--data", str(tmp_path / "data")])
    assert told.exit_code == 1
    assert named in told.output
    assert "word" not in told.output
    assert "Traceback" not in told.output


def test_a_state_that_does_not_answer_is_told_with_its_reason_and_no_trace(tmp_path: Path) -> None:
    away = ["--state", "redis://127.0.0.1:1/0", "--data", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, ["evaluate", "router", *away])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert json.loads(result.stdout)["error"]["reason"] == "STATE_UNAVAILABLE"
