"""The seed prompts of self-study: five kinds of request, as data (Eyuboglu et al. 2025, section 4.1)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

KINDS = ("question", "structuring", "summarization", "use_case", "creative")


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: a passage, what is asked of it, and the answer."""

    passage: str
    request: str
    answer: str


@dataclass(frozen=True)
class Seed:
    """One kind of request. `sentences` is how much of the corpus one is about; `asks` names it in a
    prompt.
    """

    name: str
    sentences: int
    asks: str
    instruction: str
    examples: tuple[Example, ...]

    @cached_property
    def few_shot(self) -> str:
        """The worked examples with an open end: what a small model is shown."""
        return "".join(
            f"{self.opening(each.passage)} {each.request}\nAnswer: {each.answer}\n\n"
            for each in self.examples
        )

    def opening(self, passage: str) -> str:
        """A passage up to where its request begins."""
        return f"Passage: {' '.join(passage.split())}\n{self.asks}:"

    @property
    def stops(self) -> tuple[str, ...]:
        """What ends a completion behind `opening`: the model has gone on to a passage of its own."""
        return ("\n\n", "\nPassage:", f"\n{self.asks}:")


def passage(kind: str, sentences: Sequence[str], first: int) -> str:
    """The text that a conversation of a kind is about: one sentence where it only quotes."""
    return " ".join(sentences[first : first + _spans().get(kind, 1)])


@cache
def _spans() -> dict[str, int]:
    return {seed.name: seed.sentences for seed in load_seeds()}


def load_seeds(names: Sequence[str] = KINDS) -> tuple[Seed, ...]:
    """The kinds of these names, in order.

    Raises:
        ValueError: there is no kind of a name.
    """
    kinds = json.loads((files("cartridges") / "seeds.json").read_text(encoding="utf-8"))["kinds"]
    known = {
        fields["name"]: Seed(
            **{**fields, "examples": tuple(Example(**each) for each in fields["examples"])}
        )
        for fields in kinds
    }
    if unknown := set(names) - known.keys():
        raise ValueError(f"no seed is called {sorted(unknown)}; there are {', '.join(known)}")
    return tuple(known[name] for name in names)
