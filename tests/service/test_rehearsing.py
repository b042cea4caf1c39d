"""The worker asks an indexed corpus questions of its own, once for a content; it answers meanwhile."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answering_room import build
from longmemory.v1 import corpus_pb2
from tenant_room import Member, TenantRoom, tenant_room

from engine.embedding import Embedder
from engine.errors import EngineError
from engine.model import LanguageModel
from retrieval.window_index import WindowReader
from service.answers import Question, Route
from service.config import ServiceConfig
from service.rehearsing import Rehearser
from service.routes import Budget
from service.routing.rehearsal import Rehearsal, Tried
from service.state.catalogs import Catalogs

TEXT = "Ann tends the lamp of the harbor. Ben rings the bell at noon. The pier was built in 1911."


def rehearsed(member: Member) -> Rehearsal | None:
    """What the newest catalog says."""
    newest = max(
        (member.data / "indexes" / "books").glob("*.json"), key=lambda p: p.stat().st_mtime
    )
    recipe, _, digest = newest.stem.partition("-")
    catalog = Catalogs(member.data / "indexes").get("books", recipe, digest)
    assert catalog is not None
    return catalog.rehearsal


@pytest.fixture
def room(tmp_path: Path, model_folder: Path) -> Iterator[TenantRoom]:
    with tenant_room(tmp_path / "data", model_folder) as room:
        room.worker._settings = replace(room.worker._settings, rehearse=2)
        yield room


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sentences each rehearsal found."""
    counted: list[int] = []
    rehearse = Rehearser.rehearse

    def watched(self: Rehearser, corpus: Any, wanted: int) -> Generator[float, None, Rehearsal]:
        counted.append(len(corpus.index))
        return rehearse(self, corpus, wanted)

    monkeypatch.setattr(Rehearser, "rehearse", watched)
    return counted


def test_a_content_is_rehearsed_once(room: TenantRoom, runs: list[int]) -> None:
    member = room.member("alpha")
    member.fill("books", TEXT)
    assert runs == [3]
    assert rehearsed(member) == Rehearsal(2)  # a random model writes no sound question
    operation = member.index("books")
    room.work()
    member.ended(operation)
    assert runs == [3]
    assert rehearsed(member) == Rehearsal(2)
    member.upload("books", "b.txt", b"The ferry leaves on Mondays.")
    member.index("books")
    room.work()
    assert runs == [3, 4]


def test_a_corpus_is_ready_while_it_is_rehearsed_and_however_that_ends(
    room: TenantRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, states = room.member("alpha"), []

    def broken(self: Rehearser, corpus: Any, wanted: int) -> Generator[float, None, Rehearsal]:
        told = member.corpora.GetCorpus(corpus_pb2.GetCorpusRequest(name="corpora/books"))
        states.append(told.state)
        yield 0.1
        raise EngineError("no memory is left")

    monkeypatch.setattr(Rehearser, "rehearse", broken)
    member.fill("books", TEXT)
    assert states == [corpus_pb2.Corpus.STATE_READY]
    assert rehearsed(member) is None


def test_nothing_is_rehearsed_unless_it_is_asked_for(room: TenantRoom, runs: list[int]) -> None:
    room.worker._settings = replace(room.worker._settings, rehearse=0)
    room.member("alpha").fill("books", TEXT)
    assert runs == []


def test_what_was_rehearsed_is_told_and_searched_by_once_it_is_noted(
    tmp_path: Path, model: LanguageModel, embedder: Embedder, handbook: str
) -> None:
    room = build(tmp_path, model, embedder)
    room.corpora.create("books")
    room.write("\n".join(handbook.splitlines()[:20]))
    room.index()
    asked, budget = "Who keeps the lamp of the harbor?", Budget(64)
    find, before = room.answerer._routes.preparer(Route.CRAG), room.resident()
    tried = (Tried("crag", 4, 0.9), Tried("infini_retri", 1, 0.2))
    noted = replace(before.catalog, rehearsal=Rehearsal(4, 4, tried, lexical=2.0))
    room.catalogs.put("books", noted)
    after = room.resident()
    assert after.catalog.rehearsal == noted.rehearsal
    usual = [one.score for one in find(before, asked, budget).ranking]
    assert [one.score for one in find(after, asked, budget).ranking] != usual
    facts = room.answerer._finder.facts(
        Question("books", asked), room.corpora.get("books"), after, 1000, budget
    )
    assert facts.rehearsal == noted.rehearsal
    room.thread.close()
    room.corpora._store.close()


@pytest.mark.parametrize("questions", [-1, 1, 65])
def test_a_number_of_questions_that_makes_no_sense_is_refused(questions: int) -> None:
    with pytest.raises(ValueError, match="rehearse is"):
        ServiceConfig(Path("data"), rehearse=questions)


@pytest.mark.wheel
@pytest.mark.long
def test_the_default_model_rehearses_what_it_has_indexed(
    tmp_path: Path, wheel_model: LanguageModel, embedder: Embedder, handbook: str
) -> None:
    room = build(tmp_path, wheel_model, embedder)
    room.corpora.create("books")
    room.write("\n".join(handbook.splitlines()[:30]))
    room.index()
    reader: WindowReader = room.indexer._reader
    steps = Rehearser(reader).rehearse(room.resident(), 8)
    shares: list[float] = []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as end:
            found: Rehearsal = end.value
            break
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 2 <= found.questions <= found.wanted == 8
    assert {one.route for one in found.routes} == {
        Route.CRAG, Route.INFINI_RETRI, Route.FULL_CONTEXT,
    }  # fmt: skip
    assert all(0 <= one.told <= found.questions for one in found.routes)
    assert max(one.recovered for one in found.routes) > 0.5  # its evidence holds the answers
    assert 0.0 < found.shipped_rank <= found.rank <= 1.0 or found.lexical is None
    room.thread.close()
    room.corpora._store.close()
