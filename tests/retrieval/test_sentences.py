"""No character is lost, none is told twice, and nothing is cut where a reader would not cut."""

import random
from collections.abc import Callable

import pytest

from engine.model import LanguageModel
from retrieval.infini_retri import ReadingSettings
from retrieval.sentences import split_sentences, weigh

HEAVIEST = 200


def prose(chance: random.Random) -> str:
    words = (
        "the lamp",
        "3.14",
        "Dr. Gull",
        "e.g. this",
        "www.example.com/a?b=1.5",
        "naïve",
        "“so”",
    )
    count = chance.randint(1, 30)
    return " ".join(chance.choice(words) for _ in range(count)) + chance.choice((".", "?", "!", ""))


def wide(chance: random.Random) -> str:
    return "".join(
        chance.choice("漢字とかな。、！👩‍👩‍👧🙂é\u0301") for _ in range(chance.randint(1, 300))
    )


def code(chance: random.Random) -> str:
    lines = ("def f(x):", "    return x ** 2  # why. not", "", "}", "a = [1, 2,", "\treturn", "--")
    return "\n".join(chance.choice(lines) for _ in range(chance.randint(1, 12)))


def listing(chance: random.Random) -> str:
    marks = ("- ", "* ", "1. ", "a) ", "• ", "# ", "> ")
    return "\n".join(chance.choice(marks) + prose(chance) for _ in range(chance.randint(1, 6)))


def table(chance: random.Random) -> str:
    rows = ("| a | b |", "|---|---|", "| 1.5 | x. Y |", "a\tb\tc", "=====")
    return "\r\n".join(chance.choice(rows) for _ in range(chance.randint(1, 8)))


def log(chance: random.Random) -> str:
    return "\n".join(
        f"2024-01-0{chance.randint(1, 9)} 10:00:0{i} INFO [x] done. ok" for i in range(4)
    )


def odd(chance: random.Random) -> str:
    marks = (
        " ",
        "\n",
        "\r\n",
        "\r",
        "\0",
        "\t",
        "\f",
        "\v",
        "\x1c",
        "\x85",
        "\u2028",
        "\u200b",
        "a",
        ".",
    )
    return "".join(chance.choice(marks) for _ in range(chance.randint(0, 40)))


MAKERS: tuple[Callable[[random.Random], str], ...] = (prose, wide, code, listing, table, log, odd)
EDGES = {
    "empty": "",
    "white space": " \n\t\r\n \u2003\x85 ",
    "one mark": ".",
    "marks": "--- *** \n\n ===",
    "one letter": "x",
    "NUL": "\0",
    "emojis": "🙂👩‍👩‍👧🇩🇪",
    "a long line": "word " * 2800,
    "a long line without spaces": "x" * 14_000,
    "one sentence of 100,000": ("and on it goes, " * 6250).strip() + ".",
    "calls in a line without end": "f(" * 50_000,
    "a call and much space": "f(x) " + " " * 50_000 + "y",
    "a key and much space": ("a:" + " " * 990 + "~\n") * 60,
    "words like a definition": "def " * 25_000,
    "CRLF": "One.\r\n\r\nTwo is\r\nhere.\r\n",
    "BOM": "\ufeffHello. There.",
}


def generated(seed: int) -> str:
    chance = random.Random(seed)
    parts = [chance.choice(MAKERS)(chance) for _ in range(chance.randint(1, 8))]
    return "".join(part + chance.choice(("\n", "\n\n", " ", "\r\n\r\n", "")) for part in parts)


def check_cover(text: str, heaviest: int) -> None:
    """Spans in order, disjoint, bounded, without white space at their ends; no character missed."""
    at = 0
    for span in split_sentences(text, heaviest):
        assert at <= span.start < span.end <= len(text)
        weight = int(weigh(span.of(text))[-1])
        assert weight <= heaviest or span.end - span.start == 1
        assert not text[at : span.start].strip()
        assert span.of(text) == span.of(text).strip()
        at = span.end
    assert not text[at:].strip()


@pytest.mark.parametrize("heaviest", [HEAVIEST, 7, 1])
def test_every_character_of_generated_texts_lies_in_exactly_one_span(heaviest: int) -> None:
    for seed in range(300 if heaviest == HEAVIEST else 60):
        check_cover(generated(seed), heaviest)


@pytest.mark.parametrize("text", EDGES.values(), ids=EDGES)
def test_every_character_of_an_odd_text_lies_in_exactly_one_span(text: str) -> None:
    check_cover(text, HEAVIEST)
    check_cover(text, 800)


@pytest.mark.parametrize("text", ["", " \n\t\r\n ", "\u2003"])
def test_white_space_has_no_sentences(text: str) -> None:
    assert split_sentences(text) == []


def texts(text: str) -> list[str]:
    return [span.of(text) for span in split_sentences(text)]


@pytest.mark.parametrize(
    "sentence",
    [
        "Pi is 3.14 and a bit more than 2.50 crowns.",
        "The page www.example.com/a?b=1.5 tells more about it.",
        "Bring warm things, e.g. this coat.",
        "Dr. Gull came with Mrs. Dray at 7 p.m. on the ferry.",
        "Version 1.2.3 of S.L.F.C. rules is in force.",
        "Under Section 4.2(b) the lessee, pursuant to Art. 12(a), shall pay\nthe sum of $3,500.00.",
    ],
)
def test_a_dot_inside_a_number_an_address_or_an_abbreviation_ends_nothing(sentence: str) -> None:
    assert texts(f"It was so. {sentence} Then came rain.") == [
        "It was so.",
        sentence,
        "Then came rain.",
    ]


def test_hard_wrapped_prose_is_joined() -> None:
    text = (
        "The keeper of the light on Cape Nethery writes the air\npressure in the logbook, and he\n"
        "never forgets. He has done this for nineteen years with\nOld Gertrude beside him."
    )
    assert [part.replace("\n", " ") for part in texts(text)] == [
        "The keeper of the light on Cape Nethery writes the air pressure in the logbook, and he never "
        "forgets.",
        "He has done this for nineteen years with Old Gertrude beside him.",
    ]


def test_list_items_are_apart() -> None:
    items = ["- a hooded lantern", "- a rope of six metres", "* broth", "1. first", "b) second"]
    assert texts("Take these:\n\n" + "\n".join(items)) == ["Take these:", *items]


def test_log_lines_are_apart() -> None:
    lines = [
        f"2024-01-0{i} 10:00:00 INFO [worker] the job with number {i} was taken" for i in (1, 2, 3)
    ]
    assert texts("\n".join(lines)) == lines


@pytest.mark.parametrize(
    "lines",
    [
        [
            f'"{i}b0c86-44da": "the value of this key is {i} and goes on, long enough"'
            for i in "abc"
        ],
        [f"option_{i} = a value that is long enough to look like a wrapped line" for i in "XYZ"],
        [f"WARN the queue of worker {i} is full and what comes is turned away" for i in "ABC"],
        [f"Jan 12 10:00:0{i} host sshd: Failed password for root from port 22 ssh" for i in (1, 2)],
    ],
)
def test_records_are_apart(lines: list[str]) -> None:
    assert texts("\n".join(lines)) == lines


DENSE = {
    "UUIDs": "34911666-c3e4-463c-bce1-453e85bd56ce " * 40,
    "Japanese": "灯台守はケープの気圧を日誌に記録する、" * 60,
    "Thai": "ผู้ดูแลประภาคารเขียนความกดอากาศ" * 40,
    "Russian": "Смотритель маяка записывает давление воздуха, " * 40,
    "emojis": "🙂👩‍👩‍👧🇩🇪" * 60,
    "base64": "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQ" * 40,
    "code": "if (x[0] == y.z && foo(bar, 1.5) != {}) { a->b[12]; } " * 40,
    "words": "and on it goes, " * 200,
}


@pytest.mark.parametrize("text", DENSE.values(), ids=DENSE)
def test_a_sentence_of_any_script_fits_the_evidence_of_a_prompt(
    wheel_model: LanguageModel, text: str
) -> None:
    tokens = [len(wheel_model.encode(part)) for part in texts(text)]
    assert max(tokens) < ReadingSettings().evidence
    assert max(tokens) > 80  # and is not cut to shreds


def test_lines_of_code_are_apart() -> None:
    lines = ["def area(r):", "return 3.14 * r ** 2"]
    assert texts("def area(r):\n\n    return 3.14 * r ** 2") == lines


PYTHON = """class Store:
    def add(self, key, value):
        self._values[key] = value
        self._order.append(key)  # the oldest first. Always
        if len(self._order) > self.most:
            del self._values[self._order.pop(0)]

    def total(self) -> float:
        return sum(self._values.values())
"""
C = """static int lit(const char *lamp) {
    if (lamp == NULL)
        return -1;
    for (int i = 0; i < LAMPS; i++) {
        if (!strcmp(lamps[i].name, lamp)) return lamps[i].lit;
    }
    return 0;
}
"""


@pytest.mark.parametrize("text", [PYTHON, C], ids=["Python", "C"])
def test_a_line_of_code_is_never_cut_and_short_ones_stay_together(text: str) -> None:
    parts = texts(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert [line.strip() for part in parts for line in part.splitlines()] == lines
    assert 2 <= len(parts) < len(lines) / 2


def test_a_definition_begins_a_sentence_of_its_own() -> None:
    parts = texts("x = f(1)\n@cache\ndef area(r):\n    return 3.14 * r ** 2\n")
    assert parts == ["x = f(1)", "@cache\ndef area(r):\n    return 3.14 * r ** 2"]


def test_prose_around_code_is_still_cut_at_its_full_stops() -> None:
    text = (
        "First we open it. Then we read.\n\n    lamp = open(path)\n    lamp.read()\n\nIt ends. So."
    )
    assert texts(text) == [
        "First we open it.",
        "Then we read.",
        "lamp = open(path)\n    lamp.read()",
        "It ends.",
        "So.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "To store it, call faiss.write_index(path) once. After that the server reads it. Nothing else.",
        "This class represents a customer of the bank (or of a branch). It was made in May.",
        "The function returns three values (two are optional). It was made in May.",
        "The learning rate alpha = 0.1 was kept for all of the runs. The rest was not.",
        "@anna can you look at the invoice? It was due on Monday.\n@bob sure. I am here until Friday.",
        "Each party (a Buyer) shall keep the person(s) named below. It shall pay the costs.",
    ],
)
def test_prose_that_tells_of_code_is_cut_at_its_full_stops(text: str) -> None:
    parts = texts(text)
    assert len(parts) == sum(text.count(mark) for mark in (". ", "? ", ".\n")) + 1


def test_wrapped_capitals_are_one_sentence() -> None:
    text = "THE SOFTWARE IS PROVIDED AS IT IS, WITHOUT WARRANTY,\nEXPRESS OR IMPLIED. SO IT IS."
    assert texts(text) == [text[:-10], "SO IT IS."]


def test_a_long_sentence_is_cut_behind_a_clause() -> None:
    clause = "the keeper of the northern light goes up with his lamp and comes down again, "
    assert all(part.endswith(",") for part in texts(clause * 40)[:-1])


def test_a_line_of_code_that_is_too_long_is_cut_between_its_words() -> None:
    line = "lamps = [" + ", ".join(f"lamp_{i}" for i in range(70)) + "]"
    parts = texts(line)
    assert len(parts) > 1
    assert [word for part in parts for word in part.split()] == line.split()


def test_a_rule_goes_to_the_sentence_before_it() -> None:
    assert texts("Title\n=====\nFirst.\n\n---\n\nSecond.") == [
        "Title\n=====",
        "First.\n\n---",
        "Second.",
    ]


def test_a_blank_line_ends_a_sentence_that_has_no_mark() -> None:
    assert texts("a heading that has no mark\n\nand text") == [
        "a heading that has no mark",
        "and text",
    ]


def test_a_sentence_that_is_too_long_is_cut_at_white_space() -> None:
    text = "word " * 2800
    parts = texts(text)
    assert len(parts) > 1
    assert {word for part in parts for word in part.split()} == {"word"}
