"""The three ways to read, made together over one model: they share the question's first reading."""

from engine.embedding import Embedder
from engine.model import LanguageModel
from retrieval.attention_index import AttentionScorer
from retrieval.draft import Drafter
from retrieval.heads import RetrievalHeads
from retrieval.indexed import IndexedReader
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
        second = SecondReading(model)
        self.indexed = IndexedReader(self.scorer, second, Drafter(model), embedder)
        self.streaming = StreamingReader(self.scorer, second, embedder)
        self.published = PublishedReader(model)
