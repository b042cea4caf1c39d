"""Streamed text is the whole text: no split characters, nothing behind a stop string."""

import pytest

from engine.detokenizer import Detokenizer
from engine.model import LanguageModel

SAMPLES = (
    "Plain words, and some more.",
    "Ünïcödé — “quotes”, naïve café",
    "漢字とかな、🙂👩‍👩‍👧 and back",
    "  leading spaces\n\nand  breaks\n",
)


def stream(model: LanguageModel, text: str, stop: tuple[str, ...] = ()) -> list[str]:
    decoder = Detokenizer(model, stop)
    parts = []
    for token in model.encode(text):
        parts.append(decoder.push(token))
        if decoder.stopped:
            return parts
    return [*parts, decoder.finish()]


@pytest.mark.parametrize("text", SAMPLES)
def test_the_pieces_make_the_whole_text(model: LanguageModel, text: str) -> None:
    assert "".join(stream(model, text)) == text


@pytest.mark.parametrize("text", SAMPLES)
def test_no_piece_holds_half_a_character(model: LanguageModel, text: str) -> None:
    assert all("\ufffd" not in part for part in stream(model, text))


def test_a_stop_string_and_what_follows_it_never_appear(model: LanguageModel) -> None:
    assert "".join(stream(model, "one two\n\nQuestion: three", ("\n\nQ",))) == "one two"


def test_what_only_began_like_a_stop_string_is_given_back(model: LanguageModel) -> None:
    assert "".join(stream(model, "one two\n\nthree\n", ("\n\nQ",))) == "one two\n\nthree\n"


def test_a_stop_string_that_spans_tokens_is_held_back_until_it_is_sure(
    model: LanguageModel,
) -> None:
    decoder = Detokenizer(model, ("STOP",))
    parts = [decoder.push(token) for token in model.encode("go S")]
    assert "S" not in "".join(parts)
