"""A text is read once, as it comes, with bounded memory, and gives what an index of it would."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from stub_embedder import StubEmbedder

from engine.attention import Head
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.attention_index import AttentionScorer
from retrieval.contrast import contrast, standardised
from retrieval.heads import RetrievalHeads
from retrieval.infini_retri import ReadingSettings
from retrieval.lines import Line
from retrieval.running import RunningMoments
from retrieval.second_reading import SecondReading
from retrieval.streaming import StreamingReader, StreamingSettings
from retrieval.window_index import read_keys

QUESTION = "When is the lamp lit?"
HEADS = RetrievalHeads((Head(1, 0), Head(2, 3)), (Head(2, 1),), dense=0.5)
MOST = 64
SETTINGS = ReadingSettings(200, 100)


def lines(count: int) -> list[Line]:
    chance = random.Random(count)
    words = ("lamp", "ferry", "keeper", "gull", "rope", "salt", "tower", "bell", "lit", "dusk")
    texts = [
        f"{i} The " + " ".join(chance.choice(words) for _ in range(chance.randint(2, 12)))
        for i in range(count)
    ]
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return [Line(i, text, int(starts[i])) for i, text in enumerate(texts)]


def make(model: LanguageModel, batch: int = 3, kept: int = 1000) -> StreamingReader:
    scorer = AttentionScorer(model, HEADS, MOST)
    second = SecondReading(model, HEADS)
    return StreamingReader(scorer, second, StubEmbedder(), StreamingSettings(batch, kept))  # type: ignore[arg-type]


def plain_scores(model: LanguageModel, text: Sequence[Line]) -> np.ndarray:  # type: ignore[type-arg]
    """All lines at once: windows by plain packing, contrast over everything, cosines beside it."""
    scorer = AttentionScorer(model, HEADS, MOST)
    windows: list[list[int]] = [[]]
    counts = []
    for line in text:
        ids = model.encode(f"{line.text}\n")
        counts.append(len(ids))
        if windows[-1] and len(windows[-1]) + len(ids) > MOST:
            windows.append([])
        windows[-1].extend(ids)
    keys = [read_keys(model, scorer.heads, [ids])[0] for ids in windows]
    best = scorer.best_logits(scorer.ask(QUESTION), keys, np.array(counts, np.int32))
    return contrast(best, np.zeros(len(text), np.int32))


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_streaming_ranks_as_reading_everything_at_once_does(
    model: LanguageModel, batch: int
) -> None:
    text = lines(90)
    reading = make(model, batch).begin(QUESTION)
    for line in text:
        reading.add(line)
    found = reading.finish(ReadingSettings(100_000, 50, ranked=90))
    expected = plain_scores(model, text)
    cosines = (
        StubEmbedder().embed([line.text for line in text]) @ StubEmbedder().embed([QUESTION])[0]
    )
    fused = standardised(expected) + HEADS.dense * standardised(cosines)

    kept = reading._kept
    assert [line.sentence for line in kept.lines] == list(range(90))
    np.testing.assert_allclose(reading._contrast(kept), expected, atol=2e-2)
    order = np.argsort(-reading._fused(kept))
    assert set(order[:10].tolist()) == set(np.argsort(-fused)[:10].tolist())
    assert len(found.lines) == 90


def test_every_line_is_counted_once_whatever_the_batch(model: LanguageModel) -> None:
    for batch in (1, 2, 50):
        reading = make(model, batch).begin(QUESTION)
        for line in lines(70):
            reading.add(line)
        reading.finish(SETTINGS)
        assert reading.num_lines == 70
        assert reading._own.count == reading._among.count == reading._cosines.count == 70


def test_memory_does_not_grow_with_the_text(model: LanguageModel) -> None:
    reading = make(model, batch=2, kept=20).begin(QUESTION)
    for line in lines(400):
        reading.add(line)
        assert len(reading._kept.lines) <= 20
        assert len(reading._recent.lines) <= 6
        assert reading._waiting.num_windows <= 3
    assert len(reading.finish(SETTINGS).lines) <= 20


def test_evidence_fits_the_budget_and_names_its_lines(model: LanguageModel) -> None:
    text = lines(60)
    found = make(model).read(text, QUESTION, SETTINGS)
    numbers = [one.sentence for one in found.evidence]
    assert numbers == sorted(set(numbers))
    assert 0 < sum(one.tokens for one in found.evidence) <= 100
    assert all(found.lines[n] == text[n] for n in numbers)
    assert found == make(model).read(iter(text), QUESTION, SETTINGS)


def test_a_line_longer_than_a_window_is_read_to_its_end_and_stays_one_line(
    model: LanguageModel,
) -> None:
    long = Line(5, "the bell rang and " * 60)
    assert len(model.encode(long.text)) > 3 * MOST
    text = [*lines(5), long, *(Line(6 + line.sentence, line.text) for line in lines(20))]
    reading = make(model, batch=1).begin(QUESTION)
    for line in text:
        reading.add(line)
    found = reading.finish(ReadingSettings(2000, 1500, 0.0))

    assert reading.num_tokens == sum(len(model.encode(f"{line.text}\n")) for line in text)
    numbers = [one.sentence for one in found.ranking]
    assert sorted(numbers) == list(range(26))


def test_no_lines_leave_no_evidence(model: LanguageModel) -> None:
    assert make(model).read([], QUESTION, SETTINGS).evidence == ()


def test_one_word_is_evidence(model: LanguageModel) -> None:
    (only,) = make(model).read([Line(0, "Lamp")], QUESTION, SETTINGS).evidence
    assert only.sentence == 0
    assert only.tokens == len(Prompter(model).line_ids("Lamp"))


def test_running_moments_equal_those_of_everything_at_once() -> None:
    values = np.random.default_rng(1).normal(3, 5, (4, 200)).astype(np.float32)
    running = RunningMoments(4)
    for start, stop in ((0, 0), (0, 1), (1, 50), (50, 200)):
        running.add(values[:, start:stop])
    np.testing.assert_allclose(running.standardised(values), standardised(values), atol=1e-4)
    assert running.count == 200


def test_running_moments_of_what_does_not_vary_are_nothing() -> None:
    running = RunningMoments(2)
    running.add(np.ones((2, 9), np.float32))
    np.testing.assert_array_equal(
        running.standardised(np.ones((2, 3), np.float32)), np.zeros((2, 3))
    )
