"""Which heads find evidence: facts planted in text are looked for by every head, and the best are kept.

No labels are needed: each fact is a sentence and a question that it alone answers. Heads compete over
all windows at once, since a head that wins within one window may lose among many. Heads are added one
by one (as QRHead 2025 ranks them, but for what they add to those chosen) on half of the facts; the
other half says how good the choice is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.attention import Head, head_weights
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from retrieval.contrast import contrast, standardised
from retrieval.heads import RetrievalHeads, middle_heads
from retrieval.second_reading import largest_in_each

WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0)  # of the embedder's cosine, to choose from
_MARGIN = 3.0  # deviations above the next best beyond which a fact is found for sure


@dataclass(frozen=True, slots=True)
class PlantedText:
    """Sentences in order, and facts among them: (sentence number, question)."""

    sentences: tuple[str, ...]
    facts: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """`layers` are the depths searched, as shares of all; at most `most` heads are kept."""

    layers: tuple[float, float] = (0.3, 0.85)
    most: int = 6
    window: int = 512
    together: int = 12  # sentences read at once for the second reading


@dataclass(frozen=True, slots=True)
class Measured:
    """How one way to score finds the facts of the half that nothing was chosen on."""

    name: str
    recall_at_1: float
    recall_at_5: float
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
    scores = _search_scores(model, text, settings, say)
    gold = np.array([sentence for sentence, _ in text.facts])
    train = np.arange(len(gold)) % 2 == 0
    search = _grow(scores, gold, train, settings.most)
    attention = standardised(_sum(scores, search))
    cosines = _cosines(embedder, text)
    dense = max(
        WEIGHTS if embedder else (0.0,),
        key=lambda weight: _worth(attention + weight * cosines, gold, train),
    )
    say("reading the facts together with their questions")
    together = _reread_scores(model, text, settings)
    reread = _grow(together, np.zeros(len(gold), np.int64), train, 2)
    middle = middle_heads(model.geometry.layers, model.geometry.heads)
    known = [head for head in middle if head in scores]
    rows = [
        _measure("middle layers, all heads", _sum(scores, known), gold, ~train),
        _measure("best single head", scores[search[0]], gold, ~train),
        _measure("chosen heads", attention, gold, ~train),
    ]
    if embedder:
        rows.append(_measure("embedder alone", cosines, gold, ~train))
        rows.append(_measure("chosen heads + embedder", attention + dense * cosines, gold, ~train))
    heads = RetrievalHeads(tuple(sorted(search)), tuple(sorted(reread)), dense, True)
    return Calibration(heads, tuple(rows))


def _layers(model: LanguageModel, settings: CalibrationSettings) -> list[int]:
    first, last = (int(model.geometry.layers * share) for share in settings.layers)
    return list(range(first, max(last, first + 1)))


@torch.inference_mode()
def _search_scores(
    model: LanguageModel,
    text: PlantedText,
    settings: CalibrationSettings,
    say: Callable[[str], None],
) -> dict[Head, NDArray[np.float32]]:
    """For each head, every fact's score of every sentence: [facts, sentences]."""
    layers, prompter = _layers(model, settings), Prompter(model)
    opening = model.prefill(prompter.opening_ids())
    keys, counts = _keys(model, text.sentences, layers, settings.window, say)
    place = KVPrefix(opening.keys, opening.values, opening.length + settings.window)
    before = prompter.asking_ids()
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    documents = np.zeros(len(counts), np.int32)
    scale, group = model.geometry.head_dim**-0.5, model.geometry.heads // model.geometry.kv_heads
    found: dict[Head, list[NDArray[np.float32]]] = {}
    for number, (_, question) in enumerate(text.facts):
        say(f"question {number + 1} of {len(text.facts)}")
        ids = [*before, *prompter.asked_ids(question)]
        tap = model.tap(ids, layers, place.query_offset, place)
        for layer in layers:
            rows = tap.queries[layer][:, len(before) :].float() * scale
            for head in range(model.geometry.heads):
                own = opening.keys[layer, head // group].float()
                sink = torch.logsumexp(rows[head] @ own.T, dim=-1, keepdim=True)
                logits = rows[head] @ keys[layer][head // group].float().T - sink
                best = np.maximum.reduceat(logits.cpu().numpy(), starts, axis=1)
                found.setdefault(Head(layer, head), []).append(contrast(best, documents))
    return {head: np.stack(rows) for head, rows in found.items()}


def _keys(
    model: LanguageModel,
    sentences: Sequence[str],
    layers: Sequence[int],
    window: int,
    say: Callable[[str], None],
) -> tuple[dict[int, torch.Tensor], list[int]]:
    """Keys of all sentences' tokens by layer, [kv_heads, tokens, dim], and tokens a sentence."""
    opening = Prompter(model).opening_ids()
    encoded = [model.encode(f"{sentence}\n")[:window] for sentence in sentences]
    windows: list[list[int]] = [[]]
    for ids in encoded:
        if windows[-1] and len(windows[-1]) + len(ids) > window:
            windows.append([])
        windows[-1].extend(ids)
    parts: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    for number, ids in enumerate(windows):
        say(f"window {number + 1} of {len(windows)}")
        tap = model.tap([*opening, *ids], layers)
        for layer in layers:
            parts[layer].append(tap.keys[layer][:, len(opening) :].half())
    joined = {layer: torch.cat(keys, dim=1) for layer, keys in parts.items()}
    return joined, [len(ids) for ids in encoded]


@torch.inference_mode()
def _reread_scores(
    model: LanguageModel, text: PlantedText, settings: CalibrationSettings
) -> dict[Head, NDArray[np.float32]]:
    """For each head, attention to each fact (column 0) and to others read with it and the question."""
    layers, prompter = _layers(model, settings), Prompter(model)
    opening, asking = prompter.context_ids([]), prompter.asking_ids()
    chance = np.random.default_rng(0)
    heads = [Head(layer, head) for layer in layers for head in range(model.geometry.heads)]
    rows: list[NDArray[np.float32]] = []
    for gold, question in text.facts:
        others = [i for i in chance.permutation(len(text.sentences)) if i != gold]
        order = chance.permutation([gold, *others[: settings.together - 1]])
        parts = [prompter.line_ids(text.sentences[i])[:128] for i in order]
        asked = prompter.asked_ids(question)
        body = [token for part in parts for token in part]
        ids = [*opening, *body, *asking, *asked]
        tap = model.tap(ids, layers)
        queries = {layer: tap.queries[layer][:, len(ids) - len(asked) :] for layer in layers}
        keys = {layer: tap.keys[layer][:, : len(opening) + len(body)] for layer in layers}
        weights = head_weights(queries, keys, heads)[:, :, len(opening) :]
        paid = largest_in_each(weights, [len(part) for part in parts]).sum(axis=1)
        place = int(np.flatnonzero(order == gold)[0])
        rows.append(np.concatenate([paid[:, [place]], np.delete(paid, place, axis=1)], axis=1))
    stacked = np.stack(rows, axis=1)
    return {head: stacked[i] for i, head in enumerate(heads)}


def _cosines(embedder: Embedder | None, text: PlantedText) -> NDArray[np.float32]:
    if embedder is None:
        return np.zeros((len(text.facts), len(text.sentences)), np.float32)
    questions = embedder.embed([question for _, question in text.facts])
    return standardised(questions @ embedder.embed(text.sentences).T)


def _grow(
    scores: dict[Head, NDArray[np.float32]], gold: NDArray[np.int64], chosen_on: NDArray[np.bool_],
    most: int,
) -> list[Head]:  # fmt: skip
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


def _sum(scores: dict[Head, NDArray[np.float32]], heads: Sequence[Head]) -> NDArray[np.float32]:
    total: NDArray[np.float32] = np.sum([scores[head] for head in heads], axis=0)
    return total


def _worth(scores: NDArray[np.float32], gold: NDArray[np.int64], facts: NDArray[np.bool_]) -> float:
    """Mean lead of the facts over the next best sentence, in deviations and within bounds: it goes on
    telling heads apart where all of them rank every fact first.
    """
    spread = standardised(scores[facts])
    rows = np.arange(len(spread))
    own = spread[rows, gold[facts]].copy()
    spread[rows, gold[facts]] = -np.inf
    return float(np.clip(own - spread.max(axis=1), -_MARGIN, _MARGIN).mean())


def _measure(
    name: str, scores: NDArray[np.float32], gold: NDArray[np.int64], facts: NDArray[np.bool_]
) -> Measured:
    own = scores[facts, gold[facts]][:, None]
    ranks = (scores[facts] > own).sum(axis=1) + 1
    return Measured(
        name, float((ranks == 1).mean()), float((ranks <= 5).mean()), float((1 / ranks).mean())
    )
