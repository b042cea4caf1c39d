"""Any length is read in bounded windows; what scores best is never lost on the way."""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stub_embedder import StubEmbedder
from transformers import AutoModelForCausalLM

from engine.model import LanguageModel
from retrieval.attention_index import AttentionScorer
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.heads import retrieval_heads
from retrieval.infini_retri import AttentionReader, Line, ReadingSettings, corpus_lines, retrieve
from retrieval.window_index import WindowReader
from retrieval.windows import WindowSize, cut_windows

QUESTION = "When is the lamp lit?"
SETTINGS = ReadingSettings(window=256, evidence=64, share=0.0)


def lines(count: int, seed: int = 0) -> list[Line]:
    chance = random.Random(seed)
    words = ("lamp", "ferry", "keeper", "gull", "rope", "salt", "tower", "bell")
    return [
        Line(i, f"{i} The " + " ".join(chance.choice(words) for _ in range(chance.randint(2, 9))))
        for i in range(count)
    ]


@pytest.fixture
def reader(model: LanguageModel) -> AttentionReader:
    return AttentionReader(model, retrieval_heads(model))


@dataclass
class Watch:
    """Stands in for or beside the real scores, and keeps what was read together."""

    batches: list[list[Line]] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)

    def __call__(
        self, batch: Sequence[Line], asked: list[int], *rest: object
    ) -> NDArray[np.float32]:
        self.batches.append(list(batch))
        return np.array([self.scores.get(line.sentence, 0.5) for line in batch], np.float32)


@pytest.fixture
def watch(reader: AttentionReader, monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()
    monkeypatch.setattr(reader, "_score", made)
    return made


def test_a_line_scores_the_eager_attention_of_the_question(
    model: LanguageModel, reader: AttentionReader
) -> None:
    (one,) = [lines(6)]
    parts = [reader.prompter.line_ids(line.text) for line in one]
    opening, asked = reader.prompter.context_ids([]), reader.prompter.asked_ids(QUESTION)
    text = [token for part in parts for token in part]
    ids = [*opening, *text, *reader.prompter.asking_ids(), *asked]
    twin = AutoModelForCausalLM.from_config(
        copy.deepcopy(model.network.config), attn_implementation="eager"
    )
    twin.load_state_dict(model.network.state_dict())
    with torch.inference_mode():
        attentions = twin.eval()(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    last = len(opening) + len(text)
    expected = np.zeros(len(one))
    for place in reader.heads.heads:
        seen = attentions[place.layer][0, place.head, -len(asked) :, :last]
        seen = (seen / seen.sum(-1, keepdim=True))[:, len(opening) :]
        expected += [float(p.amax(-1).sum()) for p in seen.split([len(p) for p in parts], dim=-1)]

    found = reader.read(one, QUESTION, ReadingSettings(1000, 500, 0.0))

    assert [candidate.sentence for candidate in found] == list(range(6))
    np.testing.assert_allclose([c.score for c in found], expected, rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_fits_the_budget_in_document_order(reader: AttentionReader, seed: int) -> None:
    given = lines(120, seed)
    found = reader.read(given, QUESTION, SETTINGS)
    numbers = [candidate.sentence for candidate in found]

    assert found
    assert numbers == sorted(set(numbers))
    assert sum(candidate.tokens for candidate in found) <= SETTINGS.evidence
    for candidate in found:
        line = reader.prompter.line_ids(given[candidate.sentence].text)
        assert candidate.tokens == len(line)
    assert found == reader.read(iter(given), QUESTION, SETTINGS)


@pytest.mark.parametrize("place", [0, 3, 60, 119])
def test_the_best_line_is_carried_from_its_window_to_the_end(
    reader: AttentionReader, watch: Watch, place: int
) -> None:
    watch.scores[place] = 9.0
    found = reader.read(lines(120), QUESTION, SETTINGS)

    assert place in [candidate.sentence for candidate in found]
    first = next(
        i for i, batch in enumerate(watch.batches) if Line(place, lines(120)[place].text) in batch
    )
    assert len(watch.batches) > 5
    for batch in watch.batches[first:]:
        assert place in [line.sentence for line in batch]


def test_what_is_far_below_the_best_is_left_out(reader: AttentionReader, watch: Watch) -> None:
    watch.scores |= {7: 10.0, 90: 4.0}
    found = reader.read(lines(120), QUESTION, ReadingSettings(256, 64, share=0.2))
    assert [candidate.sentence for candidate in found] == [7, 90]


def test_one_window_or_many_every_line_is_read_and_reported(
    reader: AttentionReader, watch: Watch
) -> None:
    given = lines(60)
    for window in (192, 256, 4000):
        watch.batches.clear()
        heard: list[int] = []
        reader.read(given, QUESTION, ReadingSettings(window, 64, 0.0), heard.append)

        assert sum(heard) == len(given)
        assert len(heard) == len(watch.batches)
        assert {line for batch in watch.batches for line in batch} == set(given)
        assert (len(heard) == 1) == (window == 4000)


def test_no_more_than_one_window_of_lines_is_held(
    reader: AttentionReader, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0
    ahead: list[int] = []
    counted = 0

    def counting() -> Iterator[Line]:
        nonlocal taken
        for line in lines(300):
            taken += 1
            yield line

    def seen(count: int) -> None:
        nonlocal counted
        counted += count
        ahead.append(taken - counted)

    reader.read(counting(), QUESTION, SETTINGS, seen)

    assert taken == counted == 300
    assert max(ahead) <= 1  # the line that opens the next window
    for batch in watch.batches:
        assert num_tokens(reader, batch) <= SETTINGS.window


def num_tokens(reader: AttentionReader, batch: Sequence[Line]) -> int:
    prompter = reader.prompter
    text = prompter.context_ids([line.text for line in batch])
    return len(text) + len(prompter.asking_ids()) + len(prompter.asked_ids(QUESTION))


def test_a_line_longer_than_a_window_does_not_burst_it(
    reader: AttentionReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Line(20, "word " * 2000)
    given = [*lines(20), long, *(Line(21 + line.sentence, line.text) for line in lines(20))]
    sizes: list[int] = []
    tap = reader.model.tap
    monkeypatch.setattr(
        LanguageModel, "tap", lambda _, ids, *rest: sizes.append(len(ids)) or tap(ids, *rest)
    )
    heard: list[int] = []

    found = reader.read(given, QUESTION, SETTINGS, heard.append)

    assert max(sizes) <= SETTINGS.window
    assert sum(heard) == len(given)
    assert found
    assert 20 not in [candidate.sentence for candidate in found]


def test_thousands_of_lines_are_read(reader: AttentionReader) -> None:
    heard: list[int] = []
    settings = ReadingSettings(1024, 128)
    found = reader.read(iter(lines(2500)), QUESTION, settings, heard.append)

    assert sum(heard) == 2500
    assert len(heard) > 20
    assert 0 < sum(candidate.tokens for candidate in found) <= 128


def test_a_question_that_leaves_no_room_is_refused_with_its_tokens(reader: AttentionReader) -> None:
    question = "why " * 300
    tokens = len(reader.prompter.asked_ids(question))
    with pytest.raises(ValueError, match=f"{tokens} tokens"):
        reader.read(lines(3), question, SETTINGS)


def test_a_budget_that_leaves_no_room_for_text_is_refused(reader: AttentionReader) -> None:
    with pytest.raises(ValueError, match="no room in a window of 256 with 240 for evidence"):
        reader.read(lines(3), QUESTION, ReadingSettings(256, 240))


@pytest.mark.parametrize("evidence", [0, 256, 300])
def test_a_budget_that_fills_the_window_is_refused(evidence: int) -> None:
    with pytest.raises(ValueError, match="evidence budget"):
        ReadingSettings(256, evidence)


def test_no_lines_leave_no_evidence(reader: AttentionReader) -> None:
    assert reader.read([], QUESTION, SETTINGS) == []


def make_index(model: LanguageModel, text: str) -> CorpusIndex:
    reader = WindowReader(model, StubEmbedder(), retrieval_heads(model))  # type: ignore[arg-type]
    windows = cut_windows(text, reader.count_tokens, WindowSize(300, 600))
    return CorpusIndex(
        [Document("a", text)], [Placement(0, w.start, reader.read(text, w)) for w in windows]
    )


@dataclass
class FixedScorer:
    """Scores by hand in place of attention."""

    scores: NDArray[np.float32]

    def score(self, index: CorpusIndex, question: str) -> NDArray[np.float32]:
        return self.scores


def test_an_indexed_corpus_gives_evidence_in_order_within_the_budget(
    model: LanguageModel, reader: AttentionReader, handbook: str
) -> None:
    index = make_index(model, handbook)
    scorer = AttentionScorer(model, retrieval_heads(model), 600)
    settings = ReadingSettings(512, 100)

    found = retrieve(reader, scorer, index, QUESTION, settings)
    numbers = [candidate.sentence for candidate in found]

    assert found
    assert numbers == sorted(set(numbers))
    assert sum(candidate.tokens for candidate in found) <= 100
    assert found == retrieve(reader, scorer, index, QUESTION, settings)


def test_what_the_index_finds_is_what_is_read(
    model: LanguageModel, reader: AttentionReader, watch: Watch, handbook: str
) -> None:
    index = make_index(model, handbook)
    scores = np.zeros(len(index), np.float32)
    scores[[5, 100, 40]] = 3.0, 2.0, 1.0

    retrieve(reader, FixedScorer(scores), index, QUESTION, ReadingSettings(512, 100))  # type: ignore[arg-type]

    (batch,) = watch.batches  # one reading, however long the corpus
    numbers = [line.sentence for line in batch]
    assert {5, 40, 100} <= set(numbers)
    assert numbers == sorted(numbers)
    assert num_tokens(reader, batch) <= 512
    assert all(line.text == index.text(line.sentence) for line in batch)


def test_a_best_sentence_that_fits_nowhere_does_not_hide_the_others(
    model: LanguageModel, reader: AttentionReader, handbook: str
) -> None:
    index = make_index(model, "🙂🚢" * 390 + "\n\n" + handbook[:2000])
    scores = np.linspace(1.0, 0.5, len(index)).astype(np.float32)
    assert index.token_counts[0] > 512

    found = retrieve(reader, FixedScorer(scores), index, QUESTION, ReadingSettings(512, 100))  # type: ignore[arg-type]

    assert found


def test_an_empty_index_leaves_no_evidence(model: LanguageModel, reader: AttentionReader) -> None:
    scorer = AttentionScorer(model, retrieval_heads(model), 600)
    assert retrieve(reader, scorer, CorpusIndex([], []), QUESTION, SETTINGS) == []


def test_the_lines_of_a_corpus_are_its_sentences(model: LanguageModel, handbook: str) -> None:
    index = make_index(model, handbook[:2000])
    assert [(line.sentence, line.text) for line in corpus_lines(index)] == [
        (i, index.text(i)) for i in range(len(index))
    ]
