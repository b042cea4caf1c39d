"""Text in pieces loses nothing: every character lies in one line, at its place."""

import json
import random

import pytest

from retrieval import text_stream
from retrieval.lines import Line
from retrieval.sentences import Span, split_sentences
from retrieval.text_stream import TextStream


def cut(text: str, sizes: random.Random, most: int) -> list[Line]:
    stream = TextStream()
    lines: list[Line] = []
    at = 0
    while at < len(text):
        size = sizes.randint(1, most)
        lines += stream.add(text[at : at + size])
        at += size
    return lines + stream.finish()


TEXTS = {
    "prose": "The lamp is lit at dusk. It costs 3.14 crowns, says Mr. Hay. " * 3000,
    "log without full stops": "".join(
        f"2026-11-24 12:00:{i % 60:02d} GET /page/{i}\n" for i in range(6000)
    ),
    "one endless sentence": "word " * 20_000,
    "no white space": "x" * 100_000,
    "cjk": "灯台は夕方に点灯します。料金は三十円です。" * 4000,
    "mixed scripts": "Лампа горит. 灯。The lamp! 🙂 مصباح. " * 3000,
    "long lines": ("y = [" + "1.5, " * 2800 + "]\n") * 6,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("most", [700, 50_000])
def test_lines_hold_every_character_at_its_place(name: str, most: int) -> None:
    text = TEXTS[name]
    lines = cut(text, random.Random(most), most)

    assert [line.sentence for line in lines] == list(range(len(lines)))
    at = 0
    for line in lines:
        assert text[at : line.start].strip() == ""
        assert text[line.start : line.start + len(line.text)] == line.text
        assert 0 < len(line.text) <= 800
        at = line.start + len(line.text)
    assert text[at:].strip() == ""


CODE = {
    "JSON": json.dumps(
        [{"name": f"lamp {i}", "at": [i, 1.5], "of": {"x": f"It is. No {i}."}} for i in range(900)],
        indent=2,
    ),
    "Python": "".join(
        f"def lamp_{i}(\n    name,\n    most=3,\n):\n    found = name.strip()\n    if not found:\n"
        f"        return [\n            {i},\n            most,\n        ]\n    return found\n\n\n"
        for i in range(500)
    ),
}


@pytest.mark.parametrize("name", CODE)
def test_code_is_cut_in_pieces_as_it_is_at_once(name: str) -> None:
    text = CODE[name]
    lines = cut(text, random.Random(0), 1700)
    assert [(line.start, line.text) for line in lines] == [
        (span.start, span.of(text)) for span in split_sentences(text)
    ]


def test_what_cannot_be_cut_is_not_looked_at_for_every_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []

    def counted(text: str, behind_code: bool) -> list[Span]:
        looked.append(len(text))
        return split_sentences(text, behind_code=behind_code)

    monkeypatch.setattr(text_stream, "split_sentences", counted)
    stream = TextStream()
    for _ in range(200):
        assert stream.add("\n" * 4000) == []
    assert len(looked) < 10


def test_little_of_a_text_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TextStream()
    for _ in range(300):
        stream.add("The lamp is lit at dusk. " * 40)
        assert stream._waiting < 40_000


@pytest.mark.parametrize("text", ["", "   \n\n  ", "word"])
def test_short_texts(text: str) -> None:
    stream = TextStream()
    lines = [*stream.add(text), *stream.finish()]
    assert [line.text for line in lines] == text.split()
