"""Questions of the mixed workload with what was known of each and what came of it by every route."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cartridges.guard import ALPHA, Guard
from retrieval.question_kind import kind_of, names_nothing
from retrieval.survey import Survey
from service.answers import Route
from service.routing.choice import RoutingPolicy
from service.routing.facts import CartridgeFacts, Facts

POLICY = RoutingPolicy()
SUBSTITUTE = Route.CRAG  # what a single route gives way to where it cannot run


@dataclass(frozen=True, slots=True)
class Result:
    """One answer: score 0..1, seconds, prompt tokens."""

    score: float
    seconds: float
    tokens: int

    @property
    def cost(self) -> float:
        """In shares of a right answer, by the service's own prices."""
        return POLICY.a_second * self.seconds + POLICY.a_thousand_tokens * self.tokens / 1000


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A question with what was known of it and what came of it by each route that can run."""

    corpus: str
    group: str
    facts: Facts
    results: Mapping[Route, Result]

    @property
    def fold(self) -> str:
        """Corpora of one kind teach and are judged together."""
        return self.corpus.partition("-")[0]

    def of(self, route: Route) -> Result:
        return self.results.get(route, self.results[SUBSTITUTE])


def cases_of(rows: Sequence[Mapping[str, object]]) -> list[Case]:
    """Answers grouped by their question."""
    grouped: dict[tuple[str, str], list[Mapping[str, object]]] = defaultdict(list)
    for row in rows:
        if row["score"] is not None:
            grouped[str(row["corpus"]), str(row["question"])].append(row)
    found = []
    for (corpus, question), own in grouped.items():
        results = {
            Route(str(row["route"])): Result(
                float(str(row["score"])), float(str(row["seconds"])), int(str(row["prompt_tokens"]))
            )
            for row in own
        }
        # Declining takes what deciding takes, which every route does too.
        results[Route.DECLINE] = Result(float(own[0]["group"] == "unanswerable"), 0.0, 0)
        if SUBSTITUTE in results:
            signals = max((dict(row["signals"]) for row in own), key=len)  # type: ignore[call-overload]
            facts = facts_of(question, signals)
            found.append(Case(corpus, str(own[0]["group"]), facts, results))
    return found


def facts_of(question: str, signals: Mapping[str, float]) -> Facts:
    """What the service knew, from the signals that it told."""
    cartridge = None
    if "cartridge_recovered" in signals:
        guard = None
        if "cartridge_guard" in signals:
            guard = Guard(signals["cartridge_guard"], ALPHA, kept=1.0)
        cartridge = CartridgeFacts("c", signals["cartridge_recovered"], guard)
    return Facts(
        corpus_tokens=int(signals["corpus_tokens"]),
        room=int(signals["context_room"]),
        kind=kind_of(question),
        is_nameless=names_nothing(question),
        survey=Survey(
            0, signals["nearest_cosine"], signals["nearest_standing"], signals["nearest_margin"],
            signals["words_agree"], signals["spread"], signals["words_known"],
        ),
        cartridge=cartridge,
        sentences=int(signals["corpus_tokens"] / 25),
        asked=30,
    )  # fmt: skip
