"""A suite asked of a server, cell by cell: what is finished is skipped, what failed is tried again."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.haystack import read_haystack
from evaluation.needle_suite import Length, parse_length
from evaluation.rows import Row, RowFile, is_answered
from evaluation.scenes import Gold, Probe, Scene, Suite
from service.client.connection import Client, ClientError
from service.client.types import Answer, Evidence, Route

RANKED = 100  # candidates among which a gold passage is looked for
RETRIEVING = (Route.AUTO, Route.INFINI_RETRI, Route.CRAG)


@dataclass(frozen=True, slots=True)
class Progress:
    """Cells done of those of the scenes met so far, and what is being done."""

    done: int
    doing: str


class Run:
    """One suite by several routes against one server; rows go to `results.jsonl` in `folder`."""

    def __init__(self, client: Client, suite: Suite, routes: Sequence[Route], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._client, self._suite, self._routes = client, suite, tuple(routes)
        self.rows = RowFile(folder / "results.jsonl")
        self._corpus = f"evaluate-{suite.name}"

    def go(self, say: Callable[[Progress], None]) -> None:
        """Asks what is not finished yet. Raises ClientError where a scene cannot be registered."""
        finished = self.rows.finished()
        done = 0
        for scene in self._suite.scenes():
            cells = [(probe, route) for probe in scene.probes for route in self._routes]
            left = [
                (probe, route)
                for probe, route in cells
                if not is_answered(finished.get((scene.id, probe.id, route.value)), probe)
            ]
            done += len(cells) - len(left)
            if left:
                say(Progress(done, f"register {scene.id}"))
                self._register(scene)
            for probe, route in left:
                say(Progress(done, f"{scene.id} {probe.id} {route}"))
                self.rows.append(self._ask(scene, probe, route))
                done += 1
        say(Progress(done, "done"))

    def _register(self, scene: Scene) -> None:
        """The corpus holds just the scene's documents; those that did not change cost nothing."""
        client = self._client
        client.create_corpus(self._corpus, f"evaluation: {self._suite.name}", exist_ok=True)
        wanted = {document.id for document in scene.documents}
        for document in client.list_documents(self._corpus):
            if document.id not in wanted:
                client.delete_document(self._corpus, document.id)
        client.upload(self._corpus, scene.documents)
        client.wait(client.index(self._corpus))

    def _ask(self, scene: Scene, probe: Probe, route: Route) -> Row:
        row = Row(
            suite=self._suite.name,
            scene=scene.id,
            probe=probe.id,
            route=route.value,
            labels=probe.labels,
            question=probe.question,
            expected=probe.answers,
        )
        try:
            answer = self._client.ask(
                self._corpus, probe.question, route, max_output_tokens=probe.max_output_tokens
            )
            ranking = self._ranking(probe, route, answer)
        except ClientError as error:
            return _with(row, error=f"{error.reason}: {error.message}")
        usage = answer.usage
        return _with(
            row,
            answer=answer.answer,
            score=probe.score(answer.answer),
            recall=_recall(probe.gold, answer.evidence) if ranking is not None else None,
            rank=_rank(probe.gold, ranking or ()),
            prompt_tokens=usage.prompt_tokens,
            prefix_tokens=usage.prefix_tokens,
            output_tokens=usage.output_tokens,
            search_seconds=answer.decision.signals.get("search_seconds"),
            prepare_seconds=usage.prepare_seconds,
            first_token_seconds=usage.first_token_seconds,
            total_seconds=usage.total_seconds,
            reason=answer.decision.reason,
        )

    def _ranking(self, probe: Probe, route: Route, answer: Answer) -> Sequence[Evidence] | None:
        """What was ranked, best first: the evidence, or where whole documents are looked for the
        candidates behind it too. None where the route shows no evidence.
        """
        if route not in RETRIEVING or not probe.gold or not answer.evidence:
            return None if route not in RETRIEVING or not probe.gold else ()
        if any(not gold.text for gold in probe.gold):
            return self._client.retrieve(
                self._corpus, probe.question, answer.decision.route, most=RANKED
            ).candidates
        return sorted(answer.evidence, key=lambda piece: -piece.score)


def _with(row: Row, **changes: object) -> Row:
    return Row.from_json(row.as_json() | changes)


def _recall(gold: Sequence[Gold], evidence: Sequence[Evidence]) -> float:
    found = [any(place.is_in(one.document, one.text) for one in evidence) for place in gold]
    return sum(found) / len(found)


def _rank(gold: Sequence[Gold], ranking: Sequence[Evidence]) -> int | None:
    """The first gold place's: among documents where a whole one is meant, else among pieces."""
    by_document = any(not place.text for place in gold)
    seen: set[str] = set()
    for number, piece in enumerate(ranking, start=1):
        seen.add(piece.document)
        if any(place.is_in(piece.document, piece.text) for place in gold):
            return len(seen) if by_document else number
    return None


def measured_length(count_tokens: Callable[[str], int], label: str, source: str) -> Length:
    """A length as people write it, as characters of this source. Raises ValueError, HaystackError."""
    count, unit = parse_length(label)
    if unit == "tokens":
        texts = [text for _, text in read_haystack(source, count * 5).documents]
        count = characters_of_tokens(count_tokens, texts, count)
    return Length(label.strip().lower(), count)


def characters_of_tokens(
    count_tokens: Callable[[str], int], texts: Sequence[str], tokens: int
) -> int:
    """About how many characters of such texts have so many tokens, by the tokens of a sample."""
    sample = texts[:: max(1, len(texts) // 16)][:16]
    counted = sum(count_tokens(text) for text in sample)
    return round(tokens * sum(map(len, sample)) / max(1, counted))


def command_line(arguments: Sequence[str]) -> str:
    """The command as it was typed, with the program's own name."""
    return shlex.join(["longmemory", *arguments])


def today() -> str:
    return time.strftime("%Y-%m-%d %H:%M")
