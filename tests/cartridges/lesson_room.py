"""A small corpus and its lessons, for every test of the cartridge room."""

from collections.abc import Generator, Sequence
from typing import TypeVar

from cartridges.lessons import Lesson, read_lessons
from cartridges.match import MatchSettings, match_prefix
from cartridges.references import collect_references
from cartridges.self_study import quotations
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from engine.scoring import Turn

T = TypeVar("T")
S = TypeVar("S")

SENTENCES = (
    "The lamp of the old lighthouse flashes three times every twenty seconds.",
    "A bicycle on the ferry to Dunveigh costs 2.50 crowns in summer.",
    "The canteen cook serves smoked eel pie every Friday at noon.",
    "Two keepers share each night watch in the tall white tower.",
    "The spare office key hangs behind the portrait of the founder.",
    "Drones are forbidden on the island because they frighten the seals.",
    "The fog horn is nicknamed Old Gertrude by all of the keepers.",
    "Only Pella Vandermoor may start the large crane in the workshop.",
    "A rescued seal is fed 4.5 kilograms of herring each day.",
    "The ship Marigold sank in 1883 with a cargo of walnuts.",
)


def finish(work: Generator[S, None, T]) -> tuple[list[S], T]:
    """Everything that a piece of work yields, and what it returns."""
    seen: list[S] = []
    while True:
        try:
            seen.append(next(work))
        except StopIteration as end:
            return seen, end.value


def read_context(model: LanguageModel) -> KVPrefix:
    return model.prefill(Prompter(model).context_ids(SENTENCES))


def make_lessons(model: LanguageModel, count: int = 10) -> list[Lesson]:
    quoted = quotations(SENTENCES, count, 0, range(len(SENTENCES)))
    return finish(read_lessons(model, quoted, read_context(model)))[1]


def matched(
    model: LanguageModel, turns: Sequence[Turn], length: int, settings: MatchSettings
) -> KVPrefix:
    """The small corpus, matched by the queries of some turns."""
    context = read_context(model)
    _, references = finish(collect_references(model, context, turns, settings.queries))
    return finish(match_prefix(context, references, length, settings))[1]
