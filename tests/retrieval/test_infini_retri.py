"""A registered corpus is read as far as the question needs: searched, read again, searched once more."""

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stub_embedder import StubEmbedder

from engine.model import LanguageModel
from retrieval.contrast import Contrast
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.heads import RetrievalHeads, retrieval_heads
from retrieval.indexed import IndexedReader
from retrieval.infini_retri import ReadingSettings, conclude
from retrieval.lines import Effort, Findings, Line
from retrieval.packing import Candidate
from retrieval.readers import Readers
from retrieval.second_reading import SecondReading
from retrieval.window_index import WindowReader
from retrieval.windows import WindowSize, cut_windows

QUESTION = "When is the lamp lit?"


def make_index(model: LanguageModel, text: str) -> CorpusIndex:
    reader = WindowReader(model, StubEmbedder(), retrieval_heads(model))  # type: ignore[arg-type]
    windows = cut_windows(text, reader.count_tokens, WindowSize(300, 600))
    return CorpusIndex(
        [Document("a", text)], [Placement(0, w.start, reader.read(text, w)) for w in windows]
    )


@pytest.fixture
def reader(model: LanguageModel) -> IndexedReader:
    return Readers(model, retrieval_heads(model), size=WindowSize(300, 600)).indexed


class Fixed:
    """Scores by hand in place of attention, by question; `most` makes the coverage."""

    def __init__(self, model: LanguageModel, **scores: dict[int, float]) -> None:
        self.heads, self.by_question, self.asked = retrieval_heads(model), scores, list[str]()

    def ask(self, question: str) -> str:
        self.asked.append(question)
        return question

    def score(self, index: CorpusIndex, question: str) -> Contrast:
        scores = np.zeros(len(index), np.float32)
        for sentence, score in self.by_question[question].items():
            scores[sentence] = score
        return Contrast(scores, 10.0)


class Draft:
    """A draft by hand; remembers what it was made from."""

    def __init__(self, text: str) -> None:
        self.text, self.read = text, list[Sequence[str]]()

    def steps(self, sentences: Sequence[str], question: str) -> Generator[None, None, str]:
        self.read.append(sentences)
        yield
        return self.text


def taken(steps: Generator[None, None, NDArray[np.float32]]) -> NDArray[np.float32]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return np.asarray(end.value)


def by_hand(model: LanguageModel, scorer: Fixed, draft: str = "") -> tuple[IndexedReader, Draft]:
    drafter = Draft(draft)
    return IndexedReader(scorer, SecondReading(model, 0.0), drafter), drafter  # type: ignore[arg-type]


def test_an_indexed_corpus_gives_evidence_in_order_within_the_budget(
    model: LanguageModel, reader: IndexedReader, handbook: str
) -> None:
    index = make_index(model, handbook)
    settings = ReadingSettings(evidence=100)

    found = reader.read(index, QUESTION, settings)
    numbers = [candidate.sentence for candidate in found.evidence]

    assert found.evidence
    assert numbers == sorted(set(numbers))
    assert sum(candidate.tokens for candidate in found.evidence) <= 100
    assert all(found.lines[n].text == index.text(n) for n in numbers)
    assert found == reader.read(index, QUESTION, settings)


def test_a_question_that_one_place_covers_is_answered_by_one_search(
    model: LanguageModel, handbook: str
) -> None:
    scorer = Fixed(model, who={5: 9.0})  # nine tenths of the most that could be found
    reader, drafter = by_hand(model, scorer)
    steps = reader.steps(make_index(model, handbook), "who", ReadingSettings(again=0.4))
    assert len(list(steps)) == 1
    assert scorer.asked == ["who"]
    assert not drafter.read


def test_a_question_that_no_place_covers_is_read_again_and_searched_with_a_draft(
    model: LanguageModel, handbook: str
) -> None:
    index = make_index(model, handbook)
    scorer = Fixed(model, who={5: 1.5, 40: 0.4}, Ada={70: 9.0})
    reader, drafter = by_hand(model, scorer, "Ada")
    found = reader.read(index, "who", ReadingSettings(share=0.2, further=0.2))

    assert scorer.asked == ["who", "Ada"]
    assert index.text(5) in drafter.read[0]
    assert found.effort
    assert found.effort.rounds == 2
    assert {5, 70} <= {candidate.sentence for candidate in found.evidence}


def test_between_the_two_bounds_the_text_is_searched_once(
    model: LanguageModel, handbook: str
) -> None:
    scorer = Fixed(model, who={5: 3.0})
    reader, drafter = by_hand(model, scorer)
    index = make_index(model, handbook)
    settings = ReadingSettings(again=0.4, further=0.2)
    assert len(list(reader.steps(index, "who", settings))) > 1
    assert reader.read(index, "who", settings).effort == Effort(pytest.approx(0.3), True, 1)
    assert not drafter.read


def test_an_empty_draft_leaves_the_question_to_search_with(
    model: LanguageModel, handbook: str
) -> None:
    scorer = Fixed(model, who={5: 1.0})
    reader, _ = by_hand(model, scorer, "")
    reader.read(make_index(model, handbook), "who", ReadingSettings())
    assert scorer.asked == ["who", "who"]


def test_a_real_draft_and_a_real_second_round_give_evidence(
    model: LanguageModel, reader: IndexedReader, handbook: str
) -> None:
    index = make_index(model, handbook[:3000])
    found = reader.read(index, QUESTION, ReadingSettings(again=1.0, further=1.0))
    assert found.effort
    assert found.effort.rounds == 2
    assert found.evidence
    assert len({one.sentence for one in found.ranking}) == len(found.ranking)


def test_the_ranking_is_best_first_and_evidence_is_of_it(model: LanguageModel) -> None:
    lines = [Line(7, "a"), Line(2, "b"), Line(5, "c")]
    scores = np.array([1.0, 3.0, 2.0], np.float32)
    found = conclude(lines, scores, [4, 4, 4], ReadingSettings(evidence=8, share=0.0))
    assert [one.sentence for one in found.ranking] == [2, 5, 7]
    assert [one.sentence for one in found.evidence] == [2, 5]


def test_the_embedder_counts_by_its_calibrated_weight(model: LanguageModel, handbook: str) -> None:
    index = make_index(model, handbook[:3000])
    middle = retrieval_heads(model).search
    embedder: Any = StubEmbedder()
    question = index.text(7)  # the stub knows a text again, and nothing else
    scores: dict[float, NDArray[np.float32]] = {
        weight: Readers(model, RetrievalHeads(middle, weight), embedder)
        .indexed.search(index, question)
        .scores
        for weight in (0.0, 1.0, 50.0)
    }
    cosines = index.vectors @ embedder.embed([question])[0]
    expected = scores[0.0] + (cosines - cosines.mean()) / cosines.std()
    np.testing.assert_allclose(scores[1.0], expected, atol=1e-4)
    assert scores[50.0].argmax() == 7


def test_an_empty_index_leaves_no_evidence(reader: IndexedReader) -> None:
    assert reader.read(CorpusIndex([], []), QUESTION, ReadingSettings()).evidence == ()


@pytest.mark.parametrize("text", ["Lamp", "The lamp is lit at dusk.", "x" * 100_000, "灯" * 5000])
def test_the_smallest_and_the_oddest_corpora_are_read(
    model: LanguageModel, reader: IndexedReader, text: str
) -> None:
    settings = ReadingSettings(1500, again=1.0, further=1.0)
    assert reader.read(make_index(model, text), QUESTION, settings).ranking


def test_a_question_longer_than_a_window_is_answered_from_evidence(
    model: LanguageModel, reader: IndexedReader, handbook: str
) -> None:
    question = "When is the lamp lit, who lights it, and what does it cost? " * 60
    index = make_index(model, handbook[:2000])
    assert reader.read(index, question, ReadingSettings(again=1.0)).evidence


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evidence": 0}, "evidence budget"),
        ({"again": 1.5}, "coverage bounds"),
        ({"again": 0.1, "further": 0.2}, "coverage bounds"),
        ({"share": 1.5}, "share"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReadingSettings(**changes)  # type: ignore[arg-type]


def test_the_lines_of_a_corpus_are_its_sentences(model: LanguageModel, handbook: str) -> None:
    index = make_index(model, handbook[:2000])
    assert [(line.sentence, line.text, line.document) for line in index.lines()] == [
        (i, index.text(i), 0) for i in range(len(index))
    ]


def test_a_second_reading_changes_the_order_where_the_question_is_not_covered(
    model: LanguageModel, handbook: str
) -> None:
    scorer = Fixed(model, who={5: 1.5, 40: 1.4, 70: 1.3})
    index, drafter = make_index(model, handbook), Draft("")
    second = SecondReading(model, 100.0)
    reader = IndexedReader(scorer, second, drafter)  # type: ignore[arg-type]
    lines = [index.line(n) for n in (5, 40, 70)]
    steps = second.begin("who").steps(lines, np.zeros(3, np.float32), 10_000)
    found = reader.read(index, "who", ReadingSettings(again=0.5, further=0.0, shortlist=10_000))
    once = reader.read(index, "who", ReadingSettings(again=0.0, further=0.0))

    likely = [lines[i].sentence for i in np.argsort(-taken(steps))]
    assert [c.sentence for c in found.ranking if c.sentence in (5, 40, 70)] == likely
    assert [c.sentence for c in once.ranking[:3]] == [5, 40, 70]


def test_told_are_the_texts_of_the_evidence_from_the_best_run_on() -> None:
    scores = {3: 0.2, 4: 0.5, 8: 0.1, 9: 0.9, 10: 0.3, 11: 0.7}
    lines = {n: Line(n, str(n), document=int(n > 10)) for n in scores}
    kept = [Candidate(n, score, 1) for n, score in scores.items()]
    told = Findings(kept, kept, lines).told()
    assert [line.sentence for line in told] == [8, 9, 10, 11, 3, 4]  # 11 is of another document


def test_less_is_evidence_beside_a_sentence_that_stands_out() -> None:
    lines = [Line(number, "a") for number in range(4)]
    scores = np.array([10.0, 8.0, 6.0, 4.0], np.float32)
    settings = ReadingSettings(share=0.5, sure_share=0.7)
    kept = {
        coverage: [
            one.sentence
            for one in conclude(
                lines, scores, [1] * 4, settings, settings.effort(coverage)
            ).evidence
        ]
        for coverage in (0.1, 0.9)
    }
    assert kept == {0.1: [0, 1, 2], 0.9: [0, 1]}
