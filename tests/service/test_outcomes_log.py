"""What came of questions is kept without a word of them, and learned from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import ServiceError
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.database import Database
from service.state.outcomes_log import Outcome, OutcomesLog


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "db.sqlite3")
    corpora = Corpora(database, ContentStore(tmp_path))
    corpora.create("books")
    corpora.create("films")
    yield database
    database.close()


def outcome(
    number: int, route: str = "crag", corpus: str = "books", kind: str = "lookup"
) -> Outcome:
    options = [{"route": route, "quality": 0.7, "closed": ""}]
    return Outcome(f"d{number}", corpus, kind, route, "HIGHEST_UTILITY", 0.7, options, 1.5, 300)


def test_verdicts_are_counted_by_corpus_kind_and_route(database: Database) -> None:
    log = OutcomesLog(database)
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


def test_a_later_verdict_takes_the_place_of_an_earlier_one(database: Database) -> None:
    log = OutcomesLog(database)
    log.add(outcome(1))
    log.judge("books", "d1", True)
    assert log.judge("books", "d1", False) == (0, 1)


@pytest.mark.parametrize(("corpus", "named"), [("books", "d9"), ("films", "d1"), ("books", "")])
def test_an_answer_that_is_not_of_the_corpus_cannot_be_judged(
    database: Database, corpus: str, named: str
) -> None:
    log = OutcomesLog(database)
    log.add(outcome(1))
    with pytest.raises(ServiceError) as caught:
        log.judge(corpus, named, True)
    assert (caught.value.reason, caught.value.field) == ("DECISION_NOT_FOUND", "decision_id")
    assert log.judged() == []


def test_outcomes_of_a_corpus_go_with_it_and_none_comes_after(
    database: Database, tmp_path: Path
) -> None:
    log = OutcomesLog(database)
    log.add(outcome(1))
    log.judge("books", "d1", True)
    Corpora(database, ContentStore(tmp_path)).delete("books")
    assert log.judged() == []
    log.add(outcome(2))
    with pytest.raises(ServiceError):
        log.judge("books", "d2", True)


def test_what_nobody_judged_is_forgotten_and_what_was_judged_comes_back(database: Database) -> None:
    log = OutcomesLog(database)
    log.add(outcome(1))
    log.add(outcome(2))
    log.judge("books", "d2", False)
    assert log.forget(float("inf")) == 1
    (kept,) = log.judged()
    assert (kept.id, kept.is_good, kept.options[0]["quality"]) == ("d2", False, 0.7)


def test_a_data_folder_of_the_first_release_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite3"
    database = Database(path)
    Corpora(database, ContentStore(tmp_path)).create("books")
    for table in ("outcomes", "timings"):
        database.execute(f"DROP TABLE {table}")
    database.execute("PRAGMA user_version = 1")
    database.close()

    again = Database(path)
    log = OutcomesLog(again)
    log.add(outcome(1))
    assert log.judge("books", "d1", True) == (1, 0)
    again.close()
