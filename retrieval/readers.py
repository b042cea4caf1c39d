"""The three ways to read, made together over one model: they share the question's first reading."""

from collections.abc import Iterator

from engine.embedding import Embedder
from engine.model import LanguageModel
from retrieval.attention_index import AttentionScorer
from retrieval.corpus_index import CorpusIndex
from retrieval.heads import RetrievalHeads
from retrieval.infini_retri import IndexedReader
from retrieval.lines import Line
from retrieval.published import PublishedReader
from retrieval.second_reading import SecondReading
from retrieval.streaming import StreamingReader
from retrieval.windows import WindowSize


class Readers:
    """Every reader of one model. The embedder is asked only where the calibration gives it weight."""

    def __init__(
        self,
        model: LanguageModel,
        heads: RetrievalHeads,
        embedder: Embedder | None = None,
        size: WindowSize | None = None,
    ) -> None:
        self.heads = heads
        self.scorer = AttentionScorer(model, heads, (size or WindowSize()).most)
        second = SecondReading(model, heads)
        self.indexed = IndexedReader(self.scorer, second, embedder)
        self.streaming = StreamingReader(self.scorer, second, embedder)
        self.published = PublishedReader(model)


def corpus_lines(index: CorpusIndex) -> Iterator[Line]:
    """Every sentence of a corpus in order."""
    for sentence in range(len(index)):
        yield Line(sentence, index.text(sentence), index.span(sentence).start)
