"""An answer held to its lines is made of them word for word, whatever the model would rather say."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.answer_row import FinishReason, GenerationRequest
from engine.generation import GenerationBatch
from engine.model import LanguageModel
from engine.prompts import Prompter
from engine.quotation import Quotation, QuotedLine
from engine.sampling import SamplingParams

STOP = 2
LINES = tuple(QuotedLine(ids) for ids in ((7, 10, 11, 9), (7, 10, 12, 9), (7, 13, 9)))
EVIDENCE = (
    "The lamp of the harbor is lit at dusk.",
    "The lamp of the ferry is green.",
    "Twelve boats went out before the storm.",
)


def walk(*tokens: int) -> Quotation:
    made = Quotation.of(LINES, {STOP})
    for token in tokens:
        assert token in made.options
        made = made.after(token)
    return made


def test_a_line_may_go_on_as_any_that_begins_as_it_does() -> None:
    assert walk().options == (10, 13)
    assert walk(10).options == (11, 12)
    assert walk(10, 12).options == (9,)


def test_between_lines_the_answer_may_end_or_go_on_with_what_is_not_told_yet() -> None:
    assert walk(10, 11, 9).options == (STOP, 7)
    assert walk(10, 11, 9, 7).options == (10, 13)
    assert walk(10, 11, 9, 7, 10).options == (12,)
    assert walk(10, 11, 9, 7, 10, 12, 9, 7, 13, 9).options == (STOP,)


def test_equal_lines_are_told_once_and_a_line_of_its_first_token_alone_never() -> None:
    made = Quotation.of([QuotedLine((7, 10, 9)), QuotedLine((7, 10, 9)), QuotedLine((7,))], {STOP})
    for token in (10, 9):
        made = made.after(token)
    assert made.options == (STOP,)


def test_a_line_that_another_begins_with_is_told_first_and_the_longer_may_follow() -> None:
    made = Quotation.of([QuotedLine((7, 10)), QuotedLine((7, 10, 11))], {STOP})
    made = made.after(10)
    assert made.options == (STOP, 7)
    assert made.after(7).after(10).options == (11,)


def test_a_line_that_is_closed_ends_the_answer() -> None:
    made = Quotation.of([QuotedLine((7, 10, 9), 8), QuotedLine((7, 11, 9), 8)], {STOP}).after(10)
    assert made.options == (9, 8)
    assert made.after(9).options == (STOP, 7)
    assert made.after(8).options == (STOP,)
    assert made.after(8).guess(4) == []


def test_what_is_guessed_is_the_rest_of_the_line_under_way() -> None:
    assert walk(10, 12).guess(8) == [9]
    assert walk().guess(2) == [10, 11]
    assert walk(10, 11, 9).guess(8) == [7, 10, 12, 9]
    assert walk(10, 11, 9, 7, 10, 12, 9, 7, 13, 9).guess(8) == []


@given(st.lists(st.lists(st.integers(3, 6), min_size=1, max_size=5), min_size=1), st.data())
def test_every_walk_tells_whole_lines_each_once(
    lines: list[list[int]], data: st.DataObject
) -> None:
    given_lines = [(7, *line, 9) for line in lines]
    made, told = Quotation.of(map(QuotedLine, given_lines), {STOP}), [7]
    while STOP not in told:
        assert made.options
        token = data.draw(st.sampled_from(made.options))
        told.append(token)
        made = made.after(token)
    text = " ".join(map(str, told[:-1]))
    parts = [tuple(map(int, part.split())) for part in text.replace(" 9 7", " 9|7").split("|")]
    assert len(set(parts)) == len(parts)
    assert set(parts) <= set(given_lines)


def answer(model: LanguageModel, most_drafted: int, params: SamplingParams) -> tuple[str, str]:
    """The text and why it ended."""
    prompter = Prompter(model)
    prompt = (
        *prompter.context_ids(EVIDENCE),
        *prompter.question_ids("Who went out?", prompter.quote),
    )
    quoted = prompter.quotable(EVIDENCE)
    batch = GenerationBatch(model, most_drafted)
    batch.add([GenerationRequest("one", prompt, None, params, quoted)])
    pieces = []
    while len(batch):
        pieces += batch.step()
    return "".join(piece.text for piece in pieces), str(pieces[-1].finish)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("seed", range(5))
def test_a_model_of_random_weights_quotes_word_for_word(
    model: LanguageModel, temperature: float, seed: int
) -> None:
    text, finish = answer(model, 0, SamplingParams(200, temperature, seed=seed))
    told = [line.strip() for line in f"-{text}".rstrip("\n").split("\n")]
    assert finish == FinishReason.STOP
    assert told
    assert len(set(told)) == len(told)
    assert set(told) <= {f"- {line}" for line in EVIDENCE}


@pytest.mark.parametrize("most", [1, 3, 8])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_drafts_change_nothing_of_a_quotation(
    model: LanguageModel, most: int, temperature: float
) -> None:
    params = SamplingParams(200, temperature, seed=3)
    assert answer(model, most, params) == answer(model, 0, params)


def test_a_quotation_ends_amid_a_line_where_no_more_may_be_told(model: LanguageModel) -> None:
    whole, _ = answer(model, 0, SamplingParams(200))
    short, finish = answer(model, 8, SamplingParams(5))
    assert finish == FinishReason.LENGTH
    assert whole.startswith(short)
    assert len(short) < len(whole)


def test_a_model_that_is_not_led_is_held_to_nothing(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompter = Prompter(model)
    assert len(prompter.quotable(EVIDENCE)) == 3
    assert prompter.quotable([]) == ()
    monkeypatch.setattr("engine.prompts._NEEDS_LEAD", 1)
    assert prompter.quotable(EVIDENCE) == ()


def test_the_likelier_of_two_lines_is_chosen(model: LanguageModel) -> None:
    prompter = Prompter(model)
    prompt = (*prompter.context_ids(EVIDENCE), *prompter.question_ids("Who?", prompter.quote))
    (first,) = torch.tensor([model.network(torch.tensor([prompt])).logits[0, -1].tolist()])
    quoted = prompter.quotable(EVIDENCE)
    options = Quotation.of(quoted, model.stop_ids).options
    likeliest = max(options, key=lambda token: float(first[token]))
    batch = GenerationBatch(model, 0)
    batch.add([GenerationRequest("one", prompt, None, SamplingParams(1), quoted)])
    assert batch.step()[0].token == likeliest
