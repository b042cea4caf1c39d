"""Windows hold every sentence once, keep their bounds, and mostly survive an edit."""

import itertools
import random
from collections.abc import Sequence

import pytest

from retrieval.sentences import split_sentences
from retrieval.windows import Window, WindowSize, cut_windows

SIZE = WindowSize(least=40, most=80)


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def tale(seed: int, sentences: int) -> list[str]:
    chance = random.Random(seed)
    words = ("lamp", "ferry", "keeper", "gull", "rope", "salt", "tower", "bell")
    return [
        "The " + " ".join(chance.choice(words) for _ in range(chance.randint(3, 20))) + f" {i}."
        for i in range(sentences)
    ]


def cut(text: str) -> list[Window]:
    return cut_windows(text, count_words, SIZE)


@pytest.mark.parametrize("seed", range(10))
def test_every_sentence_lies_in_one_window_in_order(seed: int) -> None:
    text = "\n".join(tale(seed, 200))
    windows = cut(text)

    assert [span for window in windows for span in window.sentences] == split_sentences(text)
    for window in windows:
        assert (window.start, window.end) == (window.sentences[0].start, window.sentences[-1].end)


@pytest.mark.parametrize("seed", range(10))
def test_a_window_ends_at_its_most_or_past_its_least(seed: int) -> None:
    text = "\n".join(tale(seed, 200))
    sizes = [sum(count_words([s.of(text) for s in window.sentences])) for window in cut(text)]
    following = [count_words([window.sentences[0].of(text)])[0] for window in cut(text)[1:]]

    assert max(sizes) <= SIZE.most
    for size, behind in zip(sizes, following, strict=False):
        assert size >= SIZE.least or size + behind > SIZE.most


def test_a_sentence_above_the_most_is_a_window_of_its_own() -> None:
    long = "Long " + "word " * 99 + "end."
    windows = cut(f"Short one. {long} Short two.")

    assert [len(window.sentences) for window in windows] == [1, 1, 1]


@pytest.mark.parametrize("edit", ["replace", "insert", "delete"])
def test_an_edit_in_the_middle_changes_few_windows_and_no_other(edit: str) -> None:
    sentences = tale(1, 2000)
    before = cut("\n".join(sentences))
    if edit == "delete":
        del sentences[1000]
    else:
        sentences[1000 : 1001 if edit == "replace" else 1000] = ["A whale was seen at noon."]
    after = cut("\n".join(sentences))

    kept = {window.digest for window in before} & {window.digest for window in after}
    assert len(before) > 100
    assert 1 <= len(before) - len(kept) <= 5
    assert 1 <= len(after) - len(kept) <= 5
    same = list(
        itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
    )
    assert len(same) > len(before) // 3  # nothing before the edit moves


def test_equal_texts_have_equal_windows_wherever_they_lie() -> None:
    text = "\n".join(tale(3, 60))
    moved = cut("   \n\n" + text)

    assert cut(text) == cut(text)
    assert [window.digest for window in moved] == [window.digest for window in cut(text)]
    assert moved[0].of("   \n\n" + text) == cut(text)[0].of(text)


def test_different_texts_have_different_digests() -> None:
    digests = [window.digest for window in cut("\n".join(tale(4, 500)))]
    assert len(set(digests)) == len(digests)


def test_one_word_is_one_window_and_no_text_is_none() -> None:
    (window,) = cut("word")
    assert (window.start, window.end) == (0, 4)
    assert cut("") == []
    assert cut(" \n ") == []


@pytest.mark.parametrize("bounds", [(0, 10), (11, 10), (-1, 5)])
def test_bounds_that_cannot_be_kept_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="window bounds"):
        WindowSize(*bounds)
