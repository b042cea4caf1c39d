"""An answer's text is told as it comes, behind its lead, and ends in no white space."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.answer_row import FinishReason
from engine.prompts import Lead
from engine.sampling import SamplingParams
from service.answers import Delta, Summary
from service.generating import Times, generate
from service.outbox import Portion
from service.routes import PreparedContext


class Telling:
    """A thread whose model says what it is given, a token a text."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    async def generate(self, request: object) -> AsyncGenerator[Portion]:
        for number, text in enumerate(self._texts):
            is_last = number == len(self._texts) - 1
            yield Portion((number,), text, FinishReason.STOP if is_last else None)


async def told(lead: str, *texts: str) -> tuple[list[Delta], Summary]:
    prepared = PreparedContext(None, (1, 2), (), Lead(lead))
    thread: Any = Telling(*texts)
    events = [e async for e in generate(thread, prepared, SamplingParams(), Times(0.0, 0.0, 0.0))]
    *deltas, summary = events
    assert isinstance(summary, Summary)
    return [delta for delta in deltas if isinstance(delta, Delta)], summary


async def test_white_space_is_told_with_what_follows_it_and_never_last() -> None:
    deltas, summary = await told("", "One.\n", "", "Two.", "\n", " ")
    assert [delta.text for delta in deltas] == ["One.", "\nTwo."]
    assert [delta.token_ids for delta in deltas] == [(0,), (1, 2)]
    assert summary.usage.output_tokens == 5


async def test_the_lead_stands_before_the_first_words_with_one_space() -> None:
    deltas, _ = await told("The text says:\n-", " ", " The lamp", " is lit.\n")
    assert [delta.text for delta in deltas] == ["The text says:\n- The lamp", " is lit."]


async def test_an_answer_of_white_space_alone_is_empty() -> None:
    deltas, summary = await told("According to the text,", "\n", " ")
    assert deltas == []
    assert summary.finish == FinishReason.STOP


@pytest.mark.parametrize("lead", ["", "The text says:"])
@given(texts=st.lists(st.text(" \nab", max_size=4), min_size=1))
async def test_all_deltas_together_are_the_answer(lead: str, texts: list[str]) -> None:
    deltas, _ = await told(lead, *texts)
    whole = "".join(texts).rstrip()
    expected = f"{lead} {whole.lstrip()}" if lead and whole else whole
    assert "".join(delta.text for delta in deltas) == expected
