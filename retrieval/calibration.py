"""Which heads find evidence: facts planted in text are looked for by every head, and the best are kept.

No labels are needed: each fact is a sentence and a question that it alone answers. Heads compete over
all windows at once, since a head that wins within one window may lose among many. Heads are added one
by one (as QRHead 2025 ranks them, but for what they add to those chosen) on half of the facts; the
other half says how good the choice is, and what other ways to score would make of the same heads. How a
sentence's keys are pooled and how much the embedder's cosine weighs are chosen on that half as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.attention import Head
from engine.embedding import Embedder
from engine.model import LanguageModel
from retrieval.attention_index import AttentionScorer
from retrieval.contrast import CAP, contrast, odds, standardised
from retrieval.heads import RetrievalHeads, middle_heads
from retrieval.line_windows import LinePacker
from retrieval.lines import Line
from retrieval.packing import Candidate, pack
from retrieval.pooling import Pooling
from retrieval.quantised_keys import QuantisedKeys
from retrieval.window_index import read_keys

WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0)  # of the embedder's cosine, to choose from
NULL = "N/A"  # a question that asks nothing
_MARGIN = 3.0  # deviations above the next best beyond which a fact is found for sure

Scores = NDArray[np.float32]  # [facts, sentences]


@dataclass(frozen=True, slots=True)
class PlantedText:
    """Sentences in order, and facts among them: (sentence number, question)."""

    sentences: tuple[str, ...]
    facts: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """`layers` are the depths searched, as shares of all; at most `most` heads are kept; `budget` is
    the tokens of evidence that recall is measured at.
    """

    layers: tuple[float, float] = (0.3, 0.85)
    most: int = 6
    window: int = 512
    budget: int = 256


@dataclass(frozen=True, slots=True)
class Measured:
    """How one way to score finds the facts of the half that nothing was chosen on."""

    name: str
    recall_at_1: float
    recall_at_5: float
    recall_at_budget: float
    mrr: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The heads chosen and what they are worth; the rows compare them with what else there is."""

    heads: RetrievalHeads
    rows: tuple[Measured, ...]


def calibrate(
    model: LanguageModel,
    embedder: Embedder | None,
    text: PlantedText,
    settings: CalibrationSettings | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Raises ValueError where there are fewer than 8 facts, which tell nothing."""
    if len(text.facts) < 8:
        raise ValueError(f"{len(text.facts)} facts tell nothing about heads; plant at least 8")
    settings = settings or CalibrationSettings()
    read = _ReadText(model, text, settings, say)
    scores = read.scores_of_heads(say)
    gold = np.array([sentence for sentence, _ in text.facts])
    train = np.arange(len(gold)) % 2 == 0
    search = _grow(scores, gold, train, settings.most)
    by_pooling: dict[Pooling, Scores] = {
        "max": _sum(scores, search),  # by which each head was searched
        "log_sum_exp": read.scores_of(search, "log_sum_exp"),
    }
    pooling = max(by_pooling, key=lambda name: _worth(by_pooling[name], gold, train))
    attention = standardised(by_pooling[pooling])
    cosines = _cosines(embedder, text)
    dense = max(
        WEIGHTS if embedder else (0.0,),
        key=lambda weight: _worth(attention + weight * cosines, gold, train),
    )
    middle = middle_heads(model.geometry.layers, model.geometry.heads)
    ways = {
        "middle layers, all heads": _sum(scores, [head for head in middle if head in scores]),
        "best single head": scores[search[0]],
        "chosen heads": attention,
        **{
            f"chosen heads, pooled by {name}": own
            for name, own in by_pooling.items()
            if name != pooling
        },
        **read.other_ways(search),
    }
    if embedder:
        ways |= {"embedder alone": cosines, "chosen heads + embedder": attention + dense * cosines}
    rows = [_measure(name, way, gold, ~train, read, settings.budget) for name, way in ways.items()]
    heads = RetrievalHeads(tuple(sorted(search)), dense, True, pooling)
    return Calibration(heads, tuple(rows))


class _ReadText:
    """The text's keys at every head of the depths searched, and how each head scores its sentences."""

    def __init__(
        self,
        model: LanguageModel,
        text: PlantedText,
        settings: CalibrationSettings,
        say: Callable[[str], None],
    ) -> None:
        first, last = (int(model.geometry.layers * share) for share in settings.layers)
        layers = range(first, max(last, first + 1))
        every = tuple(Head(layer, h) for layer in layers for h in range(model.geometry.heads))
        self._scorer = AttentionScorer(model, RetrievalHeads(every), settings.window)
        self._questions = [question for _, question in text.facts]
        packer = LinePacker(model, settings.window)
        for number, sentence in enumerate(text.sentences):
            packer.add(Line(number, sentence))
        windows = packer.take_all()
        self._keys: list[QuantisedKeys] = []
        for number, window in enumerate(windows):
            say(f"window {number + 1} of {len(windows)}")
            self._keys += read_keys(model, self._scorer.heads, [window.ids])
        self.counts = np.zeros(len(text.sentences), np.int32)
        for window in windows:
            for line, part in zip(window.lines, window.parts, strict=True):
                self.counts[line.sentence] += len(part)

    def scores_of_heads(self, say: Callable[[str], None]) -> dict[Head, Scores]:
        """What each head makes of each fact's question."""
        documents = np.zeros(len(self.counts), np.int32)
        order = [head for own in self._scorer.sharing.values() for head in own]
        found: dict[Head, list[NDArray[np.float32]]] = {head: [] for head in order}
        for number, question in enumerate(self._questions):
            say(f"question {number + 1} of {len(self._questions)}")
            pooled = self._pooled(self._scorer, self._keys, question)
            for head, rows in zip(order, np.split(pooled, len(order)), strict=True):
                found[head].append(contrast(rows, documents).scores)
        return {head: np.stack(rows) for head, rows in found.items()}

    def scores_of(self, search: Sequence[Head], pooling: Pooling) -> Scores:
        """What these heads together make of each fact's question."""
        chosen, keys = self._chosen(search, pooling)
        documents = np.zeros(len(self.counts), np.int32)
        return np.stack(
            [contrast(self._pooled(chosen, keys, one), documents).scores for one in self._questions]
        )

    def other_ways(self, search: Sequence[Head]) -> dict[str, Scores]:
        """The chosen heads, scored in ways that the readers do not take."""
        chosen, keys = self._chosen(search, "max")
        nothing = odds(self._pooled(chosen, keys, NULL)).mean(axis=0)
        plain, own = [], []
        for question in self._questions:
            found = odds(self._pooled(chosen, keys, question))
            plain.append(found.mean(axis=0))
            own.append(np.minimum(standardised(found), CAP).sum(axis=0))
        return {
            "chosen heads, without neighbours": np.stack(own),
            "chosen heads, without standardising": np.stack(plain),
            "chosen heads, less the null question": np.stack(plain) - nothing,
        }

    def _chosen(
        self, search: Sequence[Head], pooling: Pooling
    ) -> tuple[AttentionScorer, list[QuantisedKeys]]:
        """A scorer of these heads alone, and the keys that they ask."""
        heads = RetrievalHeads(tuple(sorted(search)), pooling=pooling)
        chosen = AttentionScorer(self._scorer.model, heads, self._scorer.window)
        places = [list(self._scorer.sharing).index(place) for place in chosen.sharing]
        return chosen, [QuantisedKeys(one.values[places], one.scales[places]) for one in self._keys]

    def _pooled(
        self, scorer: AttentionScorer, keys: Sequence[QuantisedKeys], question: str
    ) -> NDArray[np.float32]:
        return scorer.pooled_logits(scorer.ask(question), keys, self.counts)


def _cosines(embedder: Embedder | None, text: PlantedText) -> Scores:
    if embedder is None:
        return np.zeros((len(text.facts), len(text.sentences)), np.float32)
    questions = embedder.embed([question for _, question in text.facts])
    return standardised(questions @ embedder.embed(text.sentences).T)


def _grow(
    scores: dict[Head, Scores], gold: NDArray[np.int64], chosen_on: NDArray[np.bool_], most: int
) -> list[Head]:
    """Heads, each the one that adds most to those before it, until none adds anything."""
    chosen: list[Head] = []
    worth = -np.inf
    while len(chosen) < most:
        candidates = [head for head in scores if head not in chosen]
        values = [_worth(_sum(scores, [*chosen, head]), gold, chosen_on) for head in candidates]
        best = int(np.argmax(values))
        if values[best] <= worth:
            break
        worth = values[best]
        chosen.append(candidates[best])
    return chosen


def _sum(scores: dict[Head, Scores], heads: Sequence[Head]) -> Scores:
    total: Scores = np.sum([scores[head] for head in heads], axis=0)
    return total


def _worth(scores: Scores, gold: NDArray[np.int64], facts: NDArray[np.bool_]) -> float:
    """Mean lead of the facts over the next best sentence, in deviations and within bounds: it goes on
    telling heads apart where all of them rank every fact first.
    """
    spread = standardised(scores[facts])
    rows = np.arange(len(spread))
    own = spread[rows, gold[facts]].copy()
    spread[rows, gold[facts]] = -np.inf
    return float(np.clip(own - spread.max(axis=1), -_MARGIN, _MARGIN).mean())


def _measure(
    name: str,
    scores: Scores,
    gold: NDArray[np.int64],
    facts: NDArray[np.bool_],
    read: _ReadText,
    budget: int,
) -> Measured:
    own = scores[facts, gold[facts]][:, None]
    ranks = (scores[facts] > own).sum(axis=1) + 1
    kept = []
    for row, wanted in zip(scores[facts], gold[facts], strict=True):
        candidates = (Candidate(i, float(row[i]), int(n)) for i, n in enumerate(read.counts))
        kept.append(wanted in {one.sentence for one in pack(candidates, budget)})
    return Measured(
        name,
        float((ranks == 1).mean()),
        float((ranks <= 5).mean()),
        float(np.mean(kept)),
        float((1 / ranks).mean()),
    )
