"""`longmemory top`: what two looks at a page tell, and how it is shown."""

import json
from dataclasses import replace

import pytest
from test_metrics import SOURCES
from typer.testing import CliRunner

from service.cli.main import app
from service.cli.top import _show, rows
from service.rpc.server import METHODS
from service.telemetry.metrics import Metrics
from service.telemetry.page import MetricsPage, PageAddress
from service.telemetry.reading import Reading, read_page
from service.telemetry.snapshot import Snapshot

TOKENS = "longmemory_generated_tokens_total"


def reading(time: float, tokens: float) -> Reading:
    return Reading(time, {TOKENS: {frozenset(): tokens}})


@pytest.fixture
def now() -> Snapshot:
    """What the sources of the metrics' own tests look like, with answers by one route."""
    metrics = Metrics(METHODS, SOURCES)
    metrics.began("crag", 0.4)
    metrics.answered("crag", "REQUESTED")
    metrics.rejected("QUEUE_FULL")
    page = MetricsPage(PageAddress("127.0.0.1:0"), metrics.registry)
    found = read_page(page.url)
    page.close()
    return Snapshot.of(found, found)


def test_tokens_a_second_are_those_between_two_looks() -> None:
    assert Snapshot.of(reading(10.0, 100), reading(12.0, 160)).tokens_per_second == 30.0
    started_anew = Snapshot.of(reading(10.0, 100), reading(12.0, 8))
    assert started_anew.tokens_per_second == 4.0


def test_every_part_of_the_service_has_its_line(now: Snapshot) -> None:
    told = dict(rows(now))
    assert told["model"] == "alive, 0.0 tokens/s, 77 so far"
    assert told["questions"] == "3 under way, 2 wait for the model"
    assert told["batch"] == "4 answers, 1.0 KiB"
    assert told["jobs"] == "1 running; train silent for 2 s; worker runs"
    assert told["cartridges"] == "1 in memory, 4.0 KiB, 5 hits, 6 loads"
    assert told["crag"].startswith("1 answers, first token p50 / p95 0.40 / 0.49")
    assert told["refused"] == "1 QUEUE_FULL"


def test_a_dead_model_cannot_be_overlooked(now: Snapshot) -> None:
    assert dict(rows(replace(now, model_alive=False)))["model"].startswith("DEAD")


def test_the_live_view_is_drawn_anew_at_every_look(
    now: Snapshot, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    monkeypatch.setenv("TERM", "xterm")
    _show(iter([now, replace(now, tokens=4711.0)]), "127.0.0.1:7421", once=False)
    drawn = capsys.readouterr().out
    assert drawn.index("77 so far") < drawn.index("4,711 so far")


def test_without_a_page_it_says_how_to_get_one() -> None:
    result = CliRunner().invoke(app, ["top", "--once", "--json", "--metrics", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["reason"] == "SERVER_UNREACHABLE"
    assert "longmemory serve --metrics" in result.stderr
