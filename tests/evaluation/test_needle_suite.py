"""The needle grid: every kind at every depth once, in texts that differ by their needles alone."""

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

from evaluation.needle_suite import SCENE_NEEDLES, Length, NeedleGrid, parse_length
from evaluation.needles import KINDS, Needle
from evaluation.scenes import Scene

LENGTHS = (Length("4k", 16_000), Length("30kc", 30_000))


@pytest.fixture
def source(tmp_path: Path) -> str:
    for i in range(12):
        text = " ".join(f"Tale {i} tells of day {j} at the old quay." for j in range(100))
        (tmp_path / f"tale{i:02d}.txt").write_text(text)
    return str(tmp_path)


def text_of(scene: Scene) -> str:
    return "\0".join(document.data().decode() for document in scene.documents)


def place(scene: Scene, sentence: str) -> float:
    before, behind = text_of(scene).split(sentence)  # exactly once
    return len(before) / (len(before) + len(behind))


def test_every_kind_meets_every_depth_of_every_length_exactly_once(source: str) -> None:
    probes = [p for s in NeedleGrid(LENGTHS, 10, source=source).scenes() for p in s.probes]
    met = Counter((p.labels["length"], p.labels["kind"], p.labels["depth"]) for p in probes)

    depths = [0, 11, 22, 33, 44, 56, 67, 78, 89, 100]
    assert set(met) == set(itertools.product(["4k", "30kc"], KINDS, depths))
    assert set(met.values()) == {1}


@pytest.mark.parametrize("depths", [1, 2, 3, 7, 10, 35])
def test_ids_are_unique_and_depths_differ_within_a_scene(source: str, depths: int) -> None:
    scenes = list(NeedleGrid(LENGTHS, depths, source=source).scenes())
    assert len({scene.id for scene in scenes}) == len(scenes) == 2 * depths
    assert scenes[0].id == "needle-4k-00"
    for scene in scenes:
        assert len({probe.id for probe in scene.probes}) == len(KINDS)
        assert len({p.labels["depth"] for p in scene.probes}) == min(depths, len(KINDS))
    assert scenes[0].probes[0].id == ("fact-d050" if depths == 1 else "fact-d000")


def test_gold_sentences_stand_verbatim_once_at_the_depth_they_are_counted_under(
    source: str,
) -> None:
    for scene in NeedleGrid(LENGTHS, 10, source=source).scenes():
        documents = {document.id: document.data().decode() for document in scene.documents}
        for probe in scene.probes:
            assert all(documents[gold.document].count(gold.text) == 1 for gold in probe.gold)
            depth = int(probe.labels["depth"]) / 100
            assert place(scene, probe.gold[0].text) == pytest.approx(depth, abs=0.04)
            told = " ".join(gold.text for gold in probe.gold)
            assert probe.score(told) == 1.0


def test_depths_0_and_100_are_the_very_ends_of_the_text(source: str) -> None:
    seen = set()
    for scene in NeedleGrid(LENGTHS, 10, source=source).scenes():
        for probe in scene.probes:
            if probe.labels["depth"] == 0:
                assert text_of(scene).startswith(probe.gold[0].text)
                seen.add((probe.labels["kind"], 0))
            if probe.labels["depth"] == 100:
                assert text_of(scene).endswith(probe.gold[0].text)
                seen.add((probe.labels["kind"], 100))
    assert seen == set(itertools.product(KINDS, (0, 100)))


def test_the_three_sentences_of_several_are_spread_over_the_text(source: str) -> None:
    for scene in NeedleGrid(LENGTHS, 10, source=source).scenes():
        (probe,) = [probe for probe in scene.probes if probe.labels["kind"] == "several"]
        places = sorted(place(scene, gold.text) for gold in probe.gold)
        assert len(places) == 3
        assert min(b - a for a, b in itertools.pairwise(places)) > 0.25


def test_lookalikes_are_in_the_text_but_are_no_gold(source: str) -> None:
    grid = NeedleGrid((Length("x", 10_000),), 3, source=source, kinds=("lookalike",))
    for scene in grid.scenes():
        (probe,) = scene.probes
        (gold,) = probe.gold
        sentences = re.split(r"(?<=\.)\s+", text_of(scene).replace("\0", " "))
        planted = [sentence for sentence in sentences if not sentence.startswith("Tale")]
        assert len(planted) == len(set(planted)) == 5
        assert [line for line in planted if probe.score(line)] == [gold.text]


def test_scenes_of_a_length_differ_only_in_documents_that_hold_needles(source: str) -> None:
    first, second, *_rest = NeedleGrid((Length("90kc", 90_000),), 5, source=source).scenes()
    assert [d.id for d in first.documents] == [d.id for d in second.documents]
    changed = [
        one.id
        for one, other in zip(first.documents, second.documents, strict=True)
        if one.data() != other.data()
    ]
    assert 0 < len(changed) <= 22  # 11 sentences each
    same = [d.data().decode() for d in first.documents if d.id not in changed]
    assert all(line.startswith("Tale") for text in same for line in text.split(". "))


def test_a_text_with_its_needles_is_as_long_as_asked(source: str) -> None:
    for scene in NeedleGrid(LENGTHS, 10, source=source).scenes():
        asked = 16_000 if scene.id.startswith("needle-4k") else 30_000
        counted = sum(len(document.data().decode()) for document in scene.documents)
        assert asked - 300 < counted <= asked
        assert {probe.labels["characters"] for probe in scene.probes} == {counted}


def test_the_same_seed_gives_the_same_scenes_and_another_seed_other_needles(source: str) -> None:
    one, again, other = (list(NeedleGrid(LENGTHS, 4, seed, source).scenes()) for seed in (1, 1, 2))
    assert one == again
    questions = [{p.question for s in scenes for p in s.probes} for scenes in (one, other)]
    assert len(questions[0]) == 2 * 4 * len(KINDS)  # new ones in every scene
    assert not questions[0] & questions[1]


def needle(number: int, sentences: int = 1) -> Needle:
    told = tuple(f"Needle {number} part {part} is here." for part in range(sentences))
    return Needle("file", told, f"Where is {number}?", (("here",),))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_of_a_few_needles_from_a_file_meets_every_depth_once(source: str, count: int) -> None:
    needles = tuple(needle(i) for i in range(count))
    grid = NeedleGrid((Length("x", 9_000),), 5, source=source, needles=needles)
    probes = [probe for scene in grid.scenes() for probe in scene.probes]
    met = Counter((probe.question, probe.labels["depth"]) for probe in probes)

    assert set(met.values()) == {1}
    assert len(met) == 5 * count
    assert probes[0].id == "file-d000"
    assert {probe.labels["kind"] for probe in probes} == {"file"}


def test_many_needles_from_a_file_take_turns(source: str) -> None:
    needles = tuple(needle(i, 1 + i % 2) for i in range(12))
    grid = NeedleGrid((Length("x", 9_000),), 6, source=source, needles=needles)
    scenes = list(grid.scenes())

    asked = Counter(probe.question for scene in scenes for probe in scene.probes)
    assert all(len(scene.probes) == SCENE_NEEDLES for scene in scenes)
    assert len(asked) == 12
    assert max(asked.values()) - min(asked.values()) <= 1
    for scene in scenes:
        assert len({probe.id for probe in scene.probes}) == SCENE_NEEDLES


def test_the_description_tells_seed_source_repetition_and_kinds(source: str) -> None:
    length = Length("200kc", 200_000)
    described = NeedleGrid((*LENGTHS, length), 10, 3, source).description
    own = sum(len(path.read_text()) for path in Path(source).glob("*.txt"))

    assert described["seed"] == 3
    assert described["source"] == f"folder {source}"
    assert described["repeated"] == pytest.approx(200_000 / own, abs=0.01)
    assert described["kinds"] == ", ".join(KINDS)
    assert described["lengths"] == "4k, 30kc, 200kc"
    filed = NeedleGrid(LENGTHS, source=source, needles=(needle(1),))
    assert filed.description["kinds"] == "1 from a file"
    assert (filed.name, filed.grouped_by) == ("needle", ("length", "depth"))


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("4k", (4_000, "tokens")),
        ("32k", (32_000, "tokens")),
        ("1m", (1_000_000, "tokens")),
        ("50000", (50_000, "tokens")),
        (" 128K ", (128_000, "tokens")),
        ("200kc", (200_000, "characters")),
        ("1mc", (1_000_000, "characters")),
        ("900c", (900, "characters")),
    ],
)
def test_a_length_is_read_with_its_unit(text: str, length: tuple[int, str]) -> None:
    assert parse_length(text) == length


@pytest.mark.parametrize("text", ["", "k", "0", "0k", "-4k", "4.5k", "4kb", "4 k", "four", "4kk"])
def test_what_is_no_length_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a length; write tokens as 4k.*200kc"):
        parse_length(text)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"lengths": ()}, "lengths are none; give each length once"),
        ({"lengths": (LENGTHS[0], LENGTHS[0])}, "lengths are 4k, 4k; give each length once"),
        ({"depths": 0}, "depths is 0; use 1 to 101"),
        ({"depths": 102}, "depths is 102; use 1 to 101"),
        ({"kinds": ("fact", "fiction")}, "kinds are fact, fiction; give at least one of fact"),
        ({"kinds": ()}, "kinds are none"),
        ({"kinds": ("fact", "fact")}, "each once"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(wrong: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        NeedleGrid(**({"lengths": LENGTHS} | wrong))  # type: ignore[arg-type]


def test_a_length_that_its_needles_fill_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"length x is 500 characters.*use a longer text"):
        list(NeedleGrid((Length("x", 500),), source=source).scenes())
