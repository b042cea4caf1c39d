"""What came of questions is kept without a word of them, and learned from."""

from pathlib import Path

import pytest

from service.errors import ServiceError
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.outcomes_log import Outcome, OutcomesLog
from service.state.store import Store
from service.state.tables import OUTCOMES


@pytest.fixture(autouse=True)
def corpora(store: Store, tmp_path: Path) -> Corpora:
    corpora = Corpora(store, ContentStore(tmp_path))
    corpora.create("books")
    corpora.create("films")
    return corpora


def outcome(
    number: int, route: str = "crag", corpus: str = "books", kind: str = "lookup"
) -> Outcome:
    options = [{"route": route, "quality": 0.7, "closed": ""}]
    return Outcome(f"d{number}", corpus, kind, route, "HIGHEST_UTILITY", 0.7, options, 1.5, 300)


def test_verdicts_are_counted_by_corpus_kind_and_route(store: Store) -> None:
    log = OutcomesLog(store)
    for number, args in enumerate(
        [("crag",), ("crag",), ("cartridge",), ("crag", "films"), ("crag", "books", "overview")]
    ):
        log.add(outcome(number, *args))
    assert log.verdicts("books", "lookup") == {}
    assert log.judge("books", "d0", True) == (1, 0)
    assert log.judge("books", "d1", False) == (1, 1)
    assert log.judge("books", "d2", True) == (1, 0)
    log.judge("films", "d3", False)
    log.judge("books", "d4", False)
    assert log.verdicts("books", "lookup") == {"crag": (1, 1), "cartridge": (1, 0)}


def test_a_later_verdict_takes_the_place_of_an_earlier_one(store: Store) -> None:
    log = OutcomesLog(store)
    log.add(outcome(1))
    log.judge("books", "d1", True)
    assert log.judge("books", "d1", False) == (0, 1)


@pytest.mark.parametrize(("corpus", "named"), [("books", "d9"), ("films", "d1"), ("books", "")])
def test_an_answer_that_is_not_of_the_corpus_cannot_be_judged(
    store: Store, corpus: str, named: str
) -> None:
    log = OutcomesLog(store)
    log.add(outcome(1))
    with pytest.raises(ServiceError) as caught:
        log.judge(corpus, named, True)
    assert (caught.value.reason, caught.value.field) == ("DECISION_NOT_FOUND", "decision_id")
    assert log.judged() == []


def test_outcomes_of_a_corpus_go_with_it_and_none_comes_after(
    store: Store, corpora: Corpora
) -> None:
    log = OutcomesLog(store)
    log.add(outcome(1))
    log.judge("books", "d1", True)
    corpora.delete("books")
    assert log.judged() == []
    corpora.create("books")
    assert log.verdicts("books", "lookup") == {}
    corpora.delete("books")
    log.add(outcome(2))
    with pytest.raises(ServiceError):
        log.judge("books", "d2", True)


def test_what_nobody_judged_is_forgotten_and_what_was_judged_comes_back(store: Store) -> None:
    log = OutcomesLog(store)
    log.add(outcome(1))
    log.add(outcome(2))
    log.judge("books", "d2", False)
    assert log.forget(float("inf")) == 1
    (kept,) = log.judged()
    assert (kept.id, kept.is_good, kept.options[0]["quality"]) == ("d2", False, 0.7)


def test_the_oldest_outcomes_make_room_for_new_ones_and_verdicts_stay_counted(store: Store) -> None:
    log = OutcomesLog(store, most=100)
    log.add(outcome(0))
    log.judge("books", "d0", True)
    for number in range(1, 192):
        log.add(outcome(number))
    assert 100 <= sum(1 for _ in OUTCOMES.each(store)) < 164
    with pytest.raises(ServiceError, match="d0"):
        log.judge("books", "d0", False)
    assert log.judged() == []
    assert log.verdicts("books", "lookup") == {"crag": (1, 0)}
    assert log.judge("books", "d191", True) == (2, 0)
