"""A corpus in a summary of each of its clusters, made by the serving model: CRAG as the paper has it.

Akesson & Santos 2024 (arXiv 2406.00029): k-means with k = 4, an LLM summary of each cluster, all of them
put together. A cluster larger than a prompt is told by the sentences that speak for it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.answer_row import GenerationRequest
from engine.generation import generate_text
from engine.prompts import Lead, Prompter
from engine.sampling import SamplingParams
from retrieval.clusters import cluster
from retrieval.corpus_index import CorpusIndex
from retrieval.digest import Summary
from retrieval.extract import extract

_ASKED = "What does the text say, in one or two sentences?"
_LEAD = Lead("In short, the text says that")


@dataclass(frozen=True, slots=True)
class SummarySettings:
    """Clusters (the paper's 4), the tokens of a cluster that the model reads, and of what it says."""

    clusters: int = 4
    read: int = 768
    told: int = 48
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.clusters, self.read, self.told) < 1:
            raise ValueError("clusters, read and told must be at least 1")


def summarise(
    index: CorpusIndex,
    prompter: Prompter,
    settings: SummarySettings,
    known: Mapping[str, str] | None = None,
) -> tuple[Summary, ...]:
    """A summary of each cluster, the largest first. `known` has texts by their keys that were made
    before: what the same model has read before it does not read again.
    """
    if not len(index):
        return ()
    labels = cluster(index.vectors, settings.clusters, settings.seed)
    made = [
        _unwritten(index, prompter, np.flatnonzero(labels == label), settings)
        for label in np.argsort(-np.bincount(labels), kind="stable")
    ]
    texts = dict(known or {})
    asked = [
        GenerationRequest(
            summary.key, prompt, None, SamplingParams(max_tokens=settings.told, stop=("\n",))
        )
        for summary, prompt in made
        if summary.key not in texts
    ]
    for request, text in zip(asked, generate_text(prompter.model, asked), strict=True):
        texts[request.id] = _whole_sentences(text)
    return tuple(
        Summary(one.sentence, one.speaks_for, texts[one.key], one.key)
        for one, _ in made
        if texts[one.key]
    )


def _unwritten(
    index: CorpusIndex, prompter: Prompter, rows: np.ndarray, settings: SummarySettings
) -> tuple[Summary, tuple[int, ...]]:
    """A cluster's summary without its text, and the prompt for it."""
    texts = [index.text(int(row)) for row in rows]
    costs = np.array([len(prompter.line_ids(text)) for text in texts], dtype=np.int32)
    vectors = index.vectors[rows]
    read = sorted(extract(vectors, texts, costs, settings.read))
    central = int(rows[int(np.argmax(vectors @ vectors.mean(axis=0)))])
    lines = [texts[row] for row in read]
    lead = _LEAD if prompter.is_led else Lead()
    prompt = (*prompter.context_ids(lines), *prompter.question_ids(_ASKED, lead))
    told = (prompter.model.fingerprint, str(settings.told), *map(str, prompt))
    key = hashlib.sha256("\n".join(told).encode()).hexdigest()
    return Summary(central, len(rows), "", key), prompt


def _whole_sentences(text: str) -> str:
    """Without the sentence that the limit of tokens cut off, unless it is the only one."""
    said = " ".join(text.split())
    ends = max(said.rfind(mark) for mark in (". ", "! ", "? "))
    return said if ends < 0 or said.endswith((".", "!", "?")) else said[: ends + 1]
