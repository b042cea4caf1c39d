"""Question sets with gold passages, indexed in process; windows that were read before are kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from engine.config import EngineConfig
from engine.embedding import Embedder
from engine.model import LanguageModel
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.heads import RetrievalHeads, retrieval_heads
from retrieval.window_index import WindowReader, WindowRecord, WindowShelf
from retrieval.windows import cut_windows


@dataclass(frozen=True, slots=True)
class GoldSet:
    """Passages, questions, and for each question the numbers of its gold passages."""

    name: str
    passages: tuple[str, ...]
    questions: tuple[str, ...]
    gold: tuple[frozenset[int], ...]

    @property
    def hops(self) -> int:
        """Most gold passages of a question."""
        return max(map(len, self.gold))


def read_nq(folder: Path) -> GoldSet:
    """Natural Questions with one gold passage each, as prepared by "Lost in the Middle"."""
    lines = (folder / "nq_open_passages.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return GoldSet(
        "nq",
        tuple(f"{row['title']}\n{row['passage']}" for row in rows),
        tuple(row["question"] for row in rows),
        tuple(frozenset([i]) for i in range(len(rows))),
    )


def read_musique(folder: Path) -> GoldSet:
    """MuSiQue: questions of several hops, each with all its supporting passages."""
    corpus = json.loads((folder / "musique_100_corpus.json").read_text(encoding="utf-8"))
    rows = json.loads((folder / "musique_100.json").read_text(encoding="utf-8"))
    number = {(one["title"], one["text"]): i for i, one in enumerate(corpus)}
    gold = [
        frozenset(
            number[p["title"], p["paragraph_text"]] for p in row["paragraphs"] if p["is_supporting"]
        )
        for row in rows
    ]
    return GoldSet(
        "musique",
        tuple(f"{one['title']}\n{one['text']}" for one in corpus),
        tuple(row["question"] for row in rows),
        tuple(gold),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """The default model and embedder, loaded once."""

    model: LanguageModel
    embedder: Embedder
    heads: RetrievalHeads
    reader: WindowReader
    shelf: WindowShelf

    @classmethod
    def load(cls, data: Path, threads: int = 0) -> "Bench":
        model = LanguageModel.load(EngineConfig(data, threads=threads))
        embedder, heads = Embedder.load(), retrieval_heads(model)
        reader = WindowReader(model, embedder, heads)
        return cls(model, embedder, heads, reader, WindowShelf(data / "bench", reader.recipe))

    def index_without_keys(self, texts: Sequence[str]) -> CorpusIndex:
        """An index for searches that ask no attention: the model reads none of its windows."""
        placements = []
        for number, text in enumerate(track(texts, "index", transient=True)):
            for window in cut_windows(text, self.reader.count_tokens, self.reader.size):
                own = [sentence.of(text) for sentence in window.sentences]
                record = WindowRecord(
                    np.array(
                        [(s.start - window.start, s.end - window.start) for s in window.sentences]
                    ),
                    np.array(self.reader.count_tokens(own), np.int32),
                    self.embedder.embed(own),
                    None,  # type: ignore[arg-type]
                )
                placements.append(Placement(number, window.start, record))
        return CorpusIndex([Document(str(i), text) for i, text in enumerate(texts)], placements)

    def index(self, texts: Sequence[str]) -> CorpusIndex:
        """An index of documents, one a text."""
        placements = []
        for number, text in enumerate(track(texts, "index", transient=True)):
            for window in cut_windows(text, self.reader.count_tokens, self.reader.size):
                if not self.shelf.holds(window.digest):
                    self.shelf.put(window.digest, self.reader.read(text, window))
                placements.append(Placement(number, window.start, self.shelf.get(window.digest)))
        return CorpusIndex([Document(str(i), text) for i, text in enumerate(texts)], placements)
