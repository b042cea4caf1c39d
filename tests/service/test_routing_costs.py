"""What a route takes is learned: the line, its spread, and a machine that got slower."""

import random
from pathlib import Path

import pytest

from service.answers import Reading, Route, Usage
from service.routing.costs import PRIORS, CostModel, Stage
from service.routing.facts import Facts
from service.state.kept_timings import KeptTimings
from service.state.sqlite_store import SqliteStore
from service.timings import Timings


def taught(start: float, each: float, noise: float, count: int = 400) -> Stage:
    chance, stage = random.Random(0), PRIORS["read"]
    for _ in range(count):
        amount = chance.uniform(50, 1500)
        stage = stage.learned(amount, (start + each * amount) * chance.lognormvariate(0, noise))
    return stage


def test_a_line_is_found_from_noisy_observations() -> None:
    start, each = taught(0.2, 0.003, 0.05).line()
    assert start == pytest.approx(0.2, abs=0.1)
    assert each == pytest.approx(0.003, rel=0.1)


def test_nineteen_of_twenty_stay_below_the_95th_percentile() -> None:
    stage, chance = taught(0.1, 0.002, 0.3), random.Random(1)
    above = below = 0
    for _ in range(1000):
        amount = chance.uniform(50, 1500)
        took = (0.1 + 0.002 * amount) * chance.lognormvariate(0, 0.3)
        above += took > stage.estimate(amount).p95
        below += took < stage.estimate(amount).p50
    assert 10 <= above <= 120
    assert 350 <= below <= 700


def test_a_machine_that_got_slower_is_noticed() -> None:
    stage = taught(0.0, 0.001, 0.02)
    for _ in range(200):
        stage = stage.learned(1000.0, 4.0)
    assert stage.estimate(1000.0).p50 == pytest.approx(4.0, rel=0.15)


def test_amounts_that_are_all_alike_leave_the_slope_as_it_is() -> None:
    stage, chance = taught(0.1, 0.002, 0.05), random.Random(2)
    for _ in range(2000):
        amount = chance.uniform(199, 201)
        stage = stage.learned(amount, 0.5 * chance.lognormvariate(0, 0.3))
    assert stage.line()[1] == pytest.approx(0.002, rel=0.3)


def test_no_term_is_below_nothing() -> None:
    stage = Stage()
    for amount, seconds in ((1000.0, 0.1), (10.0, 2.0), (500.0, 1.0)):
        stage = stage.learned(amount, seconds)
    start, each = stage.line()
    assert start >= 0
    assert each >= 0
    assert Stage().estimate(100.0).p95 == 0.0


def test_a_prior_is_its_line_and_one_observation_hardly_moves_many() -> None:
    stage = Stage.prior(0.5, 0.01, 100.0)
    assert stage.line() == pytest.approx((0.5, 0.01))
    many = taught(0.1, 0.002, 0.01)
    assert many.learned(500.0, 60.0).estimate(500.0).p50 < 3 * many.estimate(500.0).p50


def test_stages_add_up() -> None:
    costs = CostModel()
    whole = costs.estimate({"read": 100.0, "decode": 20.0})
    parts = [costs.stages[n].estimate(a) for n, a in (("read", 100.0), ("decode", 20.0))]
    assert whole.p50 == pytest.approx(sum(one.p50 for one in parts))
    assert whole.p95 >= whole.p50


def test_what_was_learned_comes_back_from_its_text() -> None:
    costs = CostModel().learned("read", 300.0, 1.5)
    assert CostModel.from_json(costs.to_json()) == costs
    assert CostModel.from_json("{}") == CostModel()


def test_timings_outlive_their_process_on_the_same_machine(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db.sqlite3")
    timings = Timings(KeptTimings(store), "f" * 64, "cpu")
    facts = Facts(corpus_tokens=5000, room=4000, sentences=200, asked=20)
    usage = Usage(
        prompt_tokens=300, prefix_tokens=0, output_tokens=30, queue_seconds=0.5,
        prepare_seconds=2.0, first_token_seconds=5.5, total_seconds=8.5,
    )  # fmt: skip
    for _ in range(60):
        timings.learn(Route.INFINI_RETRI, facts, usage)
    timings.close()

    again = Timings(KeptTimings(store), "f" * 64, "cpu").costs
    assert again == timings.costs
    assert again.stages["attend"].estimate(5000).p50 == pytest.approx(2.0, rel=0.2)
    assert again.stages["read"].estimate(300).p50 == pytest.approx(3.0, rel=0.2)
    assert again.stages["decode"].estimate(30).p50 == pytest.approx(3.0, rel=0.2)
    assert again.stages["search"] == PRIORS["search"]
    assert Timings(KeptTimings(store), "0" * 64, "cpu").costs == CostModel()


@pytest.mark.parametrize("reading", [Reading.STREAMING, Reading.PUBLISHED])
def test_a_reading_that_the_router_never_asks_for_teaches_nothing_of_the_usual_one(
    tmp_path: Path, reading: Reading
) -> None:
    timings = Timings(KeptTimings(SqliteStore(tmp_path / "db.sqlite3")), "f" * 64, "cpu")
    usage = Usage(
        prompt_tokens=300, prefix_tokens=0, output_tokens=30, queue_seconds=0.5,
        prepare_seconds=200.0, first_token_seconds=203.5, total_seconds=206.5,
    )  # fmt: skip
    timings.learn(Route.INFINI_RETRI, Facts(corpus_tokens=5000, room=4000), usage, reading)
    assert timings.costs.stages["attend"] == PRIORS["attend"]
    assert timings.costs.stages["read"] != PRIORS["read"]
