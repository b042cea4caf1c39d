"""How the router did, from judged answers."""

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.config import Layout
from service.routing.audit import Judged, audit, calibration_error, doubly_robust
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.outcomes_log import Outcome, OutcomesLog
from service.state.sqlite_store import SqliteStore


def test_promises_that_are_kept_have_no_error() -> None:
    told = [0.25] * 4 + [0.75] * 4
    assert calibration_error(told, [1, 0, 0, 0, 1, 1, 1, 0]) == 0.0
    assert calibration_error([0.9] * 4, [0.0] * 4) == pytest.approx(0.9)


def test_what_another_policy_would_have_scored_is_found_though_promises_are_wrong() -> None:
    chance, judged = random.Random(0), []
    truth, promised = {"crag": 0.8, "cartridge": 0.4}, {"crag": 0.5, "cartridge": 0.7}
    for _ in range(6000):
        route = "cartridge" if chance.random() < 0.7 else "crag"
        is_good = chance.random() < truth[route]
        propensity = 0.7 if route == "cartridge" else 0.3
        judged.append(Judged("lookup", route, promised, propensity, 1.0, 1.2, is_good))
    for route, real in truth.items():
        assert doubly_robust(judged, route) == pytest.approx(real, abs=0.03)


def test_where_a_route_was_shut_what_was_taken_counts() -> None:
    judged = [Judged("lookup", "crag", {"crag": 0.9}, 1.0, 1.0, 1.0, False)]
    assert doubly_robust(judged, "cartridge") == 0.0


def test_nothing_judged_is_said_so() -> None:
    with pytest.raises(ValueError, match="feedback"):
        audit([])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = SqliteStore(Layout(tmp_path).database)
    Corpora(store, ContentStore(tmp_path)).create("books")
    log = OutcomesLog(store)
    for number, (route, is_good) in enumerate(
        [("crag", True), ("crag", True), ("crag", False), ("cartridge", False)]
    ):
        options = [
            {"route": "crag", "quality": 0.7, "p50": 2.0, "closed": ""},
            {"route": "cartridge", "quality": 0.6, "p50": 0.5, "closed": ""},
            {"route": "none", "quality": 0.1, "p50": 0.5, "closed": "ON_TOPIC"},
        ]
        log.add(Outcome(f"d{number}", "books", "lookup", route, "X", 0.7, options, 1.5, 300))
        log.judge("books", f"d{number}", is_good)
    log.add(Outcome("asked", "books", "lookup", "crag", "REQUESTED", 0.7, options, 1.5, 300))
    log.judge("books", "asked", True)
    log.add(Outcome("unjudged", "books", "lookup", "crag", "X", 0.7, options, 1.5, 300))
    store.close()
    return tmp_path


def test_the_command_reads_what_was_judged(data: Path) -> None:
    call = ["evaluate", "router", "--data", str(data)]
    found = json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout)
    assert (found["answers"], found["right"]) == (4, 0.5)
    assert [(r["route"], r["answers"]) for r in found["routes"]] == [("cartridge", 1), ("crag", 3)]
    assert set(found["always"]) == {"crag", "cartridge"}
    told = CliRunner().invoke(app, call).output
    assert "always taken" in told
    assert "50% of 4 answers" in told


def test_a_folder_without_a_service_is_said_so(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["evaluate", "router", "--data", str(tmp_path / "x"), "--json"])
    assert found.exit_code == 1
    assert "Traceback" not in found.output
