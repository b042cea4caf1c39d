"""The published algorithm reads every token, bounds what it keeps and shares nothing."""

import copy
import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from engine.model import LanguageModel
from retrieval.lines import Line
from retrieval.packing import Candidate
from retrieval.published import (
    PublishedReader,
    PublishedSettings,
    _Part,
    kept_sentences,
    question_attention,
    smoothed,
)

QUESTION = "When is the lamp lit?"
SETTINGS = PublishedSettings(window=256, phrase=5, top_tokens=20, kept=64)


def lines(count: int, seed: int = 0) -> list[Line]:
    chance = random.Random(seed)
    words = ("lamp", "ferry", "keeper", "gull", "rope", "salt", "tower", "bell")
    return [
        Line(i, f"{i} The " + " ".join(chance.choice(words) for _ in range(chance.randint(2, 9))))
        for i in range(count)
    ]


def array(*scores: float) -> NDArray[np.float32]:
    return np.array(scores, np.float32)


@pytest.fixture
def reader(model: LanguageModel) -> PublishedReader:
    return PublishedReader(model)


@pytest.fixture
def prompts(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Every prompt that the model is given, in order."""
    given: list[list[int]] = []
    tap = model.tap

    def spy(ids: Sequence[int], layers: Sequence[int]) -> object:
        given.append(list(ids))
        return tap(ids, layers)

    monkeypatch.setattr(model, "tap", spy)
    return given


def plant(reader: PublishedReader, monkeypatch: pytest.MonkeyPatch, token: int) -> list[int]:
    """The question now attends to one token alone; hears how many tokens of text are read together."""
    sizes: list[int] = []

    def attention(parts: Sequence[_Part], asked: Sequence[int]) -> NDArray[np.float32]:
        text = [i for part in parts for i in part.ids]
        sizes.append(len(text))
        return np.array([i == token for i in text], np.float32)

    monkeypatch.setattr(reader, "_attention", attention)
    return sizes


def eager_attention(model: LanguageModel, ids: list[int], asked: int) -> NDArray[np.float32]:
    """A plain forward pass's last layer, question rows, summed over rows and heads: [tokens]."""
    twin = AutoModelForCausalLM.from_config(
        copy.deepcopy(model.network.config), attn_implementation="eager"
    )
    twin.load_state_dict(model.network.state_dict())
    with torch.inference_mode():
        out = twin.eval()(input_ids=torch.tensor([ids]), output_attentions=True)
    found: NDArray[np.float32] = out.attentions[-1][0, :, -asked:].sum(dim=(0, 1)).numpy()
    return found


def prompt_of(reader: PublishedReader, given: Sequence[Line]) -> tuple[list[int], int]:
    """A prompt of lines that fit one window, and the question's tokens in it."""
    asked = reader.prompter.asked_ids(QUESTION)
    context = reader.prompter.context_ids([line.text for line in given])
    return [*context, *reader.prompter.asking_ids(), *asked], len(asked)


def test_the_attention_is_a_forward_passes_own(family_model: LanguageModel) -> None:
    ids, asked = prompt_of(PublishedReader(family_model), lines(6))
    last = family_model.geometry.layers - 1
    tap = family_model.tap(ids, (last,))

    found = question_attention(tap.queries[last], tap.keys[last], asked).numpy()

    expected = eager_attention(family_model, ids, asked)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.sum() == pytest.approx(asked * family_model.geometry.heads, rel=1e-5)


def test_a_line_scores_its_best_smoothed_token(reader: PublishedReader) -> None:
    given = lines(6)
    ids, asked = prompt_of(reader, given)
    before = len(reader.prompter.context_ids([]))
    counts = [len(reader.prompter.line_ids(line.text)) for line in given]
    text = eager_attention(reader.model, ids, asked)[before : before + sum(counts)]
    smooth = np.convolve(text, np.ones(15), "same")
    expected = [part.max() for part in np.split(smooth, np.cumsum(counts)[:-1])]

    found = reader.keep(given, QUESTION, PublishedSettings())

    assert [candidate.sentence for candidate in found] == list(range(6))
    assert [candidate.tokens for candidate in found] == counts
    np.testing.assert_allclose([c.score for c in found], expected, atol=1e-5)


@pytest.mark.parametrize("phrase", [1, 3, 15])
def test_smoothing_is_a_convolution_with_ones(phrase: int) -> None:
    scores = np.random.default_rng(0).random(40).astype(np.float32)
    expected = np.convolve(scores, np.ones(phrase), "same")
    np.testing.assert_allclose(smoothed(scores, phrase), expected, rtol=1e-5)


def test_a_phrase_is_centred_on_its_token() -> None:
    assert smoothed(array(0, 0, 0, 1, 0, 0, 0), 3).tolist() == [0, 0, 1, 1, 1, 0, 0]


def test_a_text_shorter_than_a_phrase_is_smoothed() -> None:
    assert smoothed(array(1, 2), 15).tolist() == [3, 3]
    assert smoothed(array(), 15).tolist() == []


def test_a_sentence_is_kept_whole_for_one_top_token() -> None:
    scores = array(0, 0, 9, 0, 1, 1, 0, 8)
    assert kept_sentences(scores, [3, 3, 2], 2, 100) == [Candidate(0, 9, 3), Candidate(2, 8, 2)]


def test_equal_tokens_are_kept_in_the_order_of_the_text() -> None:
    found = kept_sentences(array(*[1, 0, 2] * 100), [1] * 300, 105, 300)
    assert [c.sentence for c in found if c.score == 1] == [0, 3, 6, 9, 12]


def test_of_more_than_the_budget_the_best_stay() -> None:
    scores = array(3, 0, 1, 0, 2, 0)
    assert kept_sentences(scores, [2, 2, 2], 3, 4) == [Candidate(0, 3, 2), Candidate(2, 2, 2)]


def test_fewer_tokens_than_the_top_are_all_kept() -> None:
    assert [c.sentence for c in kept_sentences(array(1, 2, 0), [2, 1], 300, 512)] == [0, 1]
    assert kept_sentences(array(), [], 300, 512) == []


def test_every_line_is_read_and_no_prompt_exceeds_the_window(
    reader: PublishedReader, prompts: list[list[int]]
) -> None:
    given = lines(120)
    heard: list[int] = []

    reader.keep(given, QUESTION, SETTINGS, heard.append)

    shown = [reader.model.decode(ids) for ids in prompts]
    assert sum(heard) == len(given)
    assert len(heard) == len(prompts) > 5
    assert max(map(len, prompts)) <= SETTINGS.window
    assert all(any(f"- {line.text}\n" in prompt for prompt in shown) for line in given)
    assert all(prompt.endswith(f"\nQuestion: {QUESTION}") for prompt in shown)


def test_what_is_kept_stands_in_front_of_the_next_window(
    reader: PublishedReader, prompts: list[list[int]]
) -> None:
    given = lines(120)
    found: list[Candidate] = []
    for many in range(1, len(given) + 1):
        prompts.clear()
        heard: list[int] = []
        found = reader.keep(given[:many], QUESTION, SETTINGS, heard.append)
        if len(heard) == 3:
            break
    before = reader.keep(given[: many - 1], QUESTION, SETTINGS)  # all but the third window

    kept = [given[candidate.sentence].text for candidate in before]
    assert kept
    assert prompts[2] == prompt_of(reader, [*(Line(0, text) for text in kept), given[many - 1]])[0]
    assert sum(candidate.tokens for candidate in found) <= SETTINGS.kept


@pytest.mark.parametrize("seed", range(3))
def test_kept_lines_are_in_document_order_within_their_bound(
    reader: PublishedReader, seed: int
) -> None:
    found = reader.keep(iter(lines(120, seed)), QUESTION, SETTINGS)
    numbers = [candidate.sentence for candidate in found]

    assert found
    assert numbers == sorted(set(numbers))
    assert sum(candidate.tokens for candidate in found) <= SETTINGS.kept


@pytest.mark.parametrize("place", [0, 60, 119])
def test_the_line_attended_to_is_carried_to_the_end(
    reader: PublishedReader, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    given = lines(120)
    given[place] = Line(place, "The ~ harbour")
    plant(reader, monkeypatch, reader.model.encode("~")[0])

    found = reader.keep(given, QUESTION, PublishedSettings(256, 1, 1, 64))

    cost = len(reader.prompter.line_ids("The ~ harbour"))
    assert found == [Candidate(place, 1.0, cost)]


@pytest.mark.parametrize("kept", [64, 150])  # less and more than is left for new text
def test_an_overlong_line_does_not_burst_the_window(
    reader: PublishedReader, prompts: list[list[int]], kept: int
) -> None:
    long = Line(20, "word " * 2000)
    given = [*lines(20), long, *(Line(21 + line.sentence, line.text) for line in lines(20))]
    heard: list[int] = []

    reader.keep(given, QUESTION, PublishedSettings(256, 5, 20, kept), heard.append)

    assert max(map(len, prompts)) <= 256
    assert sum(heard) == len(given)


def test_a_window_is_filled_to_the_last_token_and_no_further(
    reader: PublishedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [Line(0, "~ " * 200), *(Line(1 + line.sentence, line.text) for line in lines(40))]
    around = len(prompt_of(reader, [])[0])
    sizes = plant(reader, monkeypatch, reader.model.encode("~")[0])
    left = set()
    for window in range(256, 288):
        sizes.clear()
        reader.keep(given, QUESTION, PublishedSettings(window, 1, 1, 64))
        left.add(window - around - max(sizes))

    assert min(left) == 0


@pytest.mark.parametrize("place", [0, 1000, 2000])
def test_an_overlong_line_is_read_from_end_to_end(
    reader: PublishedReader, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    long = Line(20, "word " * place + "~ " + "word " * (2000 - place))
    given = [*lines(20), long, *(Line(21 + line.sentence, line.text) for line in lines(20))]
    plant(reader, monkeypatch, reader.model.encode(" ~")[-1])

    found = reader.keep(given, QUESTION, PublishedSettings(256, 1, 1, 64))

    assert found == [Candidate(20, 1.0, len(reader.prompter.line_ids(long.text)))]


@pytest.mark.parametrize(("first", "last"), [("~~~", "~"), ("~", "~~~")])
def test_a_line_of_several_kept_parts_counts_once_by_its_best(
    reader: PublishedReader, monkeypatch: pytest.MonkeyPatch, first: str, last: str
) -> None:
    settings = PublishedSettings(window=512, phrase=3, kept=256)
    line = Line(7, f"{first} {last}")
    while len(reader.prompter.line_ids(line.text)) < 240:  # two parts, which are carried together
        line = Line(7, line.text.replace(" ", " word ", 1))
    plant(reader, monkeypatch, reader.model.encode("~")[0])

    found = reader.keep([line], QUESTION, settings)

    assert found == [Candidate(7, 3.0, len(reader.prompter.line_ids(line.text)))]


def test_interleaved_reads_share_nothing(reader: PublishedReader) -> None:
    one, other = lines(60, 1), lines(60, 2)
    alone = reader.keep(one, QUESTION, SETTINGS), reader.keep(other, "Who rings?", SETTINGS)
    amid: list[Candidate] = []

    def interrupted() -> Iterator[Line]:
        for line in one:
            if line.sentence == 30:
                amid.extend(reader.keep(other, "Who rings?", SETTINGS))
            yield line

    assert reader.keep(interrupted(), QUESTION, SETTINGS) == alone[0]
    assert amid == alone[1]


def test_no_more_than_one_window_of_lines_is_held(reader: PublishedReader) -> None:
    taken, counted, ahead = 0, 0, list[int]()

    def counting() -> Iterator[Line]:
        nonlocal taken
        for line in lines(200):
            taken += 1
            yield line

    def seen(count: int) -> None:
        nonlocal counted
        counted += count
        ahead.append(taken - counted)

    reader.keep(counting(), QUESTION, SETTINGS, seen)

    assert taken == counted == 200
    assert max(ahead) <= 1  # the line that opens the next window


def test_an_empty_text_has_nothing_to_keep(
    reader: PublishedReader, prompts: list[list[int]]
) -> None:
    assert reader.keep([], QUESTION, SETTINGS) == []
    assert prompts == []


def test_a_question_that_leaves_no_room_is_refused_with_its_tokens(reader: PublishedReader) -> None:
    question = "why " * 300
    tokens = len(reader.prompter.asked_ids(question))
    with pytest.raises(ValueError, match=f"{tokens} tokens"):
        reader.keep(lines(3), question, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kept": 0}, "kept sentences 0"),
        ({"kept": 1024}, "kept sentences 1024"),
        ({"phrase": 0}, "phrase 0"),
        ({"phrase": 8}, "phrase 8 must be odd"),
        ({"top_tokens": 0}, "top_tokens 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PublishedSettings(**changes)
