"""A run asks each cell once, goes on where it was, and tries again what failed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evaluation.runs import Run, characters_of_tokens
from evaluation.scenes import Gold, Label, Probe, Scene
from service.client.connection import ClientError
from service.client.types import Answer, Decision, Evidence, Found, Route, SourceDocument, Usage

PIECES = (
    Evidence("a.txt", 0, 9, 0.2, "Rain fell."),
    Evidence("b.txt", 0, 9, 0.9, "Snow fell. The lamp is green."),
)


@dataclass
class TwoScenes:
    """A suite of two scenes with one probe each."""

    name: str = "toy"
    grouped_by: tuple[str, ...] = ("depth",)
    gold: str = "The lamp is green."
    depth: int = 0

    @property
    def description(self) -> Mapping[str, Label]:
        return {"seed": 0}

    def scenes(self) -> Iterator[Scene]:
        for number in range(2):
            documents = [SourceDocument(f"{name}.txt", b"text") for name in "ab"[: 2 - number]]
            probe = Probe(
                "one",
                "What is the lamp?",
                (("green",),),
                (Gold("b.txt", self.gold),),
                {"depth": self.depth},
            )
            yield Scene(f"toy-{number}", documents, (probe,))


@dataclass
class FixedClient:
    """Answers everything alike; fails the routes it is told to."""

    failing: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    documents: set[str] = field(default_factory=lambda: {"old.txt"})
    indexed: int = 0
    retrieved: int = 0

    def create_corpus(self, *_: Any, **__: Any) -> None: ...

    def list_documents(self, corpus: str) -> list[Any]:
        return [SimpleNamespace(id=name) for name in sorted(self.documents)]

    def delete_document(self, corpus: str, name: str) -> None:
        self.documents.remove(name)

    def upload(self, corpus: str, documents: Any) -> None:
        self.documents |= {document.id for document in documents}

    def index(self, corpus: str) -> str:
        self.indexed += 1
        return "job"

    def wait(self, job: str) -> None: ...

    def ask(self, corpus: str, question: str, route: Route, **_: Any) -> Answer:
        self.asked.append((corpus, route.value))
        if route in self.failing:
            raise ClientError("FAILED_PRECONDITION", "CONTEXT_TOO_LONG", "too long")
        shown = () if route is Route.FULL_CONTEXT else PIECES
        signals = {"search_seconds": 0.05} if route is Route.INFINI_RETRI else {}
        decision = Decision(route.value, route.value, "FORCED", "", signals)
        return Answer("It is GREEN.", decision, shown, Usage(9, 0, 4, 0.1, 0.3, 0.0, 0.05), "stop")

    def retrieve(self, corpus: str, question: str, route: str, most: int) -> Found:
        self.retrieved += 1
        return Found(Decision(route, route, "", ""), PIECES, (PIECES[0], PIECES[0], PIECES[1]), 0.1)

    def count_tokens(self, text: str) -> int:
        return len(text) // 4


def go(client: FixedClient, folder: Path, routes: tuple[Route, ...], **suite: Any) -> Run:
    run = Run(client, TwoScenes(**suite), routes, folder)  # type: ignore[arg-type]
    run.go(lambda _: None)
    return run


def test_every_cell_is_asked_and_scored(tmp_path: Path) -> None:
    routes = (Route.INFINI_RETRI, Route.FULL_CONTEXT)
    rows = go(FixedClient(), tmp_path / "out", routes).rows.read()

    assert [(row.scene, row.route) for row in rows] == [
        (f"toy-{n}", route.value) for n in range(2) for route in routes
    ]
    found, whole = rows[0], rows[1]
    assert (found.score, found.recall, found.rank) == (1.0, 1.0, 1)
    assert (whole.score, whole.recall, whole.rank) == (1.0, None, None)
    assert found.labels == {"depth": 0}
    assert (found.prompt_tokens, found.total_seconds, found.reason) == (9, 0.3, "FORCED")
    assert (found.search_seconds, whole.search_seconds) == (0.05, None)


def test_what_was_not_found_counts_as_nothing(tmp_path: Path) -> None:
    (row, *_) = go(FixedClient(), tmp_path, (Route.CRAG,), gold="The bell is red.").rows.read()
    assert (row.recall, row.rank) == (0.0, None)


def test_a_whole_document_is_ranked_among_documents(tmp_path: Path) -> None:
    client = FixedClient()
    (row, *_) = go(client, tmp_path, (Route.INFINI_RETRI,), gold="").rows.read()
    assert row.rank == 2  # behind one other document, however many of its pieces stand before
    assert client.retrieved == 2


def test_a_second_run_skips_what_is_finished_and_tries_again_what_failed(tmp_path: Path) -> None:
    routes = (Route.INFINI_RETRI, Route.FULL_CONTEXT)
    first = FixedClient(failing={Route.FULL_CONTEXT})
    rows = go(first, tmp_path, routes).rows.read()
    assert [row.error for row in rows] == ["", "CONTEXT_TOO_LONG: too long"] * 2

    second = FixedClient()
    rows = go(second, tmp_path, routes).rows.read()
    assert second.asked == [("evaluate-toy", "full_context")] * 2
    assert not any(row.error for row in rows)

    third = FixedClient()
    go(third, tmp_path, routes)
    assert (third.asked, third.indexed) == ([], 0)


def test_another_question_under_the_same_name_is_asked(tmp_path: Path) -> None:
    go(FixedClient(), tmp_path, (Route.CRAG,))
    client = FixedClient()
    rows = go(client, tmp_path, (Route.CRAG,), depth=5).rows.read()
    assert len(client.asked) == 2
    assert [row.labels["depth"] for row in rows] == [5, 5]


def test_the_corpus_holds_just_the_documents_of_the_scene(tmp_path: Path) -> None:
    client = FixedClient()
    go(client, tmp_path, (Route.CRAG,))
    assert client.documents == {"a.txt"}
    assert client.indexed == 2


def test_characters_follow_from_the_tokens_of_a_sample() -> None:
    assert characters_of_tokens(FixedClient().count_tokens, ["x" * 400] * 40, 1000) == 4000
