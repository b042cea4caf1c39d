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
from retrieval.best_lines import BestLines
from retrieval.contrast import Contrast, contrast, standardised
from retrieval.heads import RetrievalHeads
from retrieval.infini_retri import ReadingSettings, finished
from retrieval.line_windows import whole_lines
from retrieval.lines import Line
from retrieval.pooling import POOLINGS, Pooling, pool
from retrieval.running import RunningMoments
from retrieval.second_reading import SecondReading
from retrieval.streaming import StreamingReader, StreamingSettings
from retrieval.window_index import read_keys

QUESTION = "When is the lamp lit?"
HEADS = RetrievalHeads((Head(1, 0), Head(2, 3)), dense=0.5)
MOST = 64
SETTINGS = ReadingSettings(evidence=100, shortlist=200)


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
    second = SecondReading(model)
    return StreamingReader(scorer, second, StubEmbedder(), StreamingSettings(batch, kept))  # type: ignore[arg-type]


def plain_contrast(model: LanguageModel, text: Sequence[Line]) -> Contrast:
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
    best = scorer.pooled_logits(scorer.ask(QUESTION), keys, np.array(counts, np.int32))
    return contrast(best, np.zeros(len(text), np.int32))


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_streaming_ranks_as_reading_everything_at_once_does(
    model: LanguageModel, batch: int
) -> None:
    text = lines(90)
    reading = make(model, batch).begin(QUESTION)
    for line in text:
        reading.add(line)
    found = finished(reading.steps(0, ReadingSettings(ranked=90)))
    expected = plain_contrast(model, text).scores
    cosines = (
        StubEmbedder().embed([line.text for line in text]) @ StubEmbedder().embed([QUESTION])[0]
    )
    fused = standardised(expected) + HEADS.dense * standardised(cosines)

    best = reading.best[0]
    kept = best.kept
    assert [line.sentence for line in kept.lines] == list(range(90))
    np.testing.assert_allclose(best.contrast(kept), expected, atol=0.1)
    order = np.argsort(-best.fused(kept))
    assert set(order[:10].tolist()) == set(np.argsort(-fused)[:10].tolist())
    assert len(found.lines) == 90


def test_every_line_is_counted_once_whatever_the_batch(model: LanguageModel) -> None:
    for batch in (1, 2, 50):
        reading = make(model, batch).begin(QUESTION)
        for line in lines(70):
            reading.add(line)
        finished(reading.steps(0, SETTINGS))
        best = reading.best[0]
        assert reading.num_lines == 70
        assert best._own.count == best._among.count == best._cosines.count == 70


def test_memory_does_not_grow_with_the_text(model: LanguageModel) -> None:
    reading = make(model, batch=2, kept=20).begin(QUESTION)
    for line in lines(400):
        reading.add(line)
        assert len(reading.best[0].kept.lines) <= 20
        assert len(reading.best[0]._recent.lines) <= 6
        assert reading._waiting.num_windows <= 3
    assert len(finished(reading.steps(0, SETTINGS)).lines) <= 20


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
    found = finished(reading.steps(0, ReadingSettings(1500, share=0.0)))

    assert reading.num_tokens == sum(len(model.encode(f"{line.text}\n")) for line in text)
    numbers = [one.sentence for one in found.ranking]
    assert sorted(numbers) == list(range(26))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_parts_of_a_line_are_pooled_as_the_whole_is(pooling: Pooling) -> None:
    logits = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    parts = pool(pooling, logits, [0, 2, 7, 9])  # the second line has two parts
    owners = [Line(0, "a"), Line(1, "b"), Line(1, "b"), Line(2, "c")]

    lines, whole = whole_lines(owners, parts, pooling)

    assert [line.sentence for line in lines] == [0, 1, 2]
    np.testing.assert_allclose(whole, pool(pooling, logits, [0, 2, 9]), atol=1e-6)


def test_questions_that_share_a_reading_find_what_each_finds_alone(model: LanguageModel) -> None:
    text = lines(80)
    questions = [QUESTION, "Who keeps the ferry, and what does it carry?", "Which bell?"]
    together = make(model, batch=2).read_all(text, questions, SETTINGS)
    alone = [make(model, batch=2).read(text, question, SETTINGS) for question in questions]
    for shared, own in zip(together, alone, strict=True):
        assert [one.sentence for one in shared.evidence] == [one.sentence for one in own.evidence]
        scores = {one.sentence: one.score for one in own.ranking}
        for one in shared.ranking:
            assert one.score == pytest.approx(scores[one.sentence], abs=1e-3)
    assert len({found.evidence[0].sentence for found in alone}) > 1


def test_the_coverage_is_that_of_reading_everything_at_once(model: LanguageModel) -> None:
    text = lines(90)
    reading = make(model).begin(QUESTION)
    for line in text:
        reading.add(line)
    finished(reading.steps(0, SETTINGS))
    *_, coverage = reading.best[0].ranked(10)
    assert coverage == pytest.approx(plain_contrast(model, text).coverage, abs=0.02)


def test_neighbours_are_of_one_document(model: LanguageModel) -> None:
    best = BestLines(1, 0.0, 100)
    odd = np.zeros((1, 8), np.float32)
    odd[0, 3] = 1.0
    best.add([Line(i, "x", document=i // 4) for i in range(8)], odd, np.zeros(8, np.float32))
    best.finish()
    assert best.kept.among[0].tolist() == [1.0] * 4 + [0.0] * 4


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
