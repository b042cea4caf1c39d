"""Threads: chains of pairs in a map of UUIDs, laid out in their direction, with one answer each."""

import itertools
import re
from collections import Counter

import pytest

from evaluation.scenes import Probe, Scene
from evaluation.threads import DOCUMENT_PAIRS, HOPS, KEYS, ThreadsSuite

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LINE = re.compile(r'"([0-9a-f*-]{36})": "([0-9a-f-]{36})"')


def lines_of(scene: Scene) -> list[str]:
    return [line for d in scene.documents for line in d.data().decode().splitlines()]


def pairs_of(scene: Scene) -> dict[str, str]:
    found = [LINE.fullmatch(line) for line in lines_of(scene)]
    return {match[1]: match[2] for match in found if match}


def probe_of(scene: Scene, task: str, hops: int) -> Probe:
    (probe,) = [p for p in scene.probes if (p.labels["task"], p.labels["hops"]) == (task, hops)]
    return probe


@pytest.fixture(scope="module")
def scene() -> Scene:
    return next(ThreadsSuite(seed=3, pairs=450, samples=1).scenes())


def test_a_map_has_so_many_different_pairs_in_documents_of_a_hundred(scene: Scene) -> None:
    sizes = [len(document.data().decode().splitlines()) for document in scene.documents]
    assert sizes == [DOCUMENT_PAIRS] * 4 + [50]
    assert len(pairs_of(scene)) == 450
    assert len(set(pairs_of(scene).values())) == 450
    names = [document.id for document in scene.documents]
    assert names == sorted(set(names))


def test_values_and_unmarked_keys_are_uuids(scene: Scene) -> None:
    pairs = pairs_of(scene)
    assert all(UUID.fullmatch(value) for value in pairs.values())
    assert sum(UUID.fullmatch(key) is None for key in pairs) == KEYS


def test_every_task_and_every_number_of_hops_is_asked_once(scene: Scene) -> None:
    asked = Counter((probe.labels["task"], probe.labels["hops"]) for probe in scene.probes)
    threads = itertools.product(["thread forward", "thread backward"], HOPS)
    assert set(asked) == {("single", 1), ("multiple", 1), ("conditional", 1), *threads}
    assert set(asked.values()) == {1}
    assert len({probe.id for probe in scene.probes}) == len(scene.probes)


@pytest.mark.parametrize("task", ["thread forward", "thread backward"])
@pytest.mark.parametrize("hops", HOPS)
def test_following_the_map_for_so_many_hops_comes_to_the_answer(
    scene: Scene, task: str, hops: int
) -> None:
    probe = probe_of(scene, task, hops)
    pairs, lines = pairs_of(scene), lines_of(scene)
    (at,) = UUID.findall(probe.question)
    chain = []
    for _ in range(hops):
        chain.append(f'"{at}": "{pairs[at]}"')
        at = pairs[at]

    assert probe.answers == ((at,),)
    assert at not in pairs  # the chain ends there
    assert f"after {hops} steps" in probe.question
    assert [gold.text for gold in probe.gold] == chain
    places = [lines.index(line) for line in chain]
    assert places == sorted(places, reverse=task == "thread backward")
    assert probe.labels["direction"] == task.removeprefix("thread ")


def test_gold_lines_stand_in_the_documents_that_they_are_said_to_be_in(scene: Scene) -> None:
    documents = {document.id: document.data().decode() for document in scene.documents}
    for probe in scene.probes:
        for gold in probe.gold:
            assert documents[gold.document].splitlines().count(gold.text) == 1


def test_several_keys_are_asked_for_with_all_their_values(scene: Scene) -> None:
    probe, pairs = probe_of(scene, "multiple", 1), pairs_of(scene)
    keys = UUID.findall(probe.question)
    assert len(keys) == KEYS
    assert probe.answers == tuple((pairs[key],) for key in keys)
    assert probe.score(" ".join(pairs[key] for key in keys)) == 1.0
    assert probe.score(pairs[keys[1]]) == pytest.approx(1 / 3)
    assert probe.score(" ".join(keys)) == 0.0


def test_the_condition_holds_for_the_expected_keys_and_no_other(scene: Scene) -> None:
    probe, pairs = probe_of(scene, "conditional", 1), pairs_of(scene)
    (mark,) = re.findall(r'character "(.)"', probe.question)
    expected = {value for key, value in pairs.items() if mark in key}
    assert {form for (form,) in probe.answers} == expected
    assert len(expected) == len(probe.gold) == KEYS


def test_no_question_holds_its_answer_and_all_leave_room_for_it(scene: Scene) -> None:
    for probe in scene.probes:
        assert probe.score(probe.question) == 0.0
        assert probe.max_output_tokens >= sum(len(form) / 1.5 for (form,) in probe.answers)


def test_the_same_seed_gives_the_same_maps_and_another_seed_others() -> None:
    one, again, other = (list(ThreadsSuite(seed, 300, samples=2).scenes()) for seed in (1, 1, 2))
    assert one == again
    assert [scene.id for scene in one] == ["threads-00", "threads-01"]
    keys = [set(pairs_of(scene)) for scene in (*one, *other)]
    assert not any(a & b for a, b in itertools.combinations(keys, 2))


def test_hops_can_be_chosen_and_the_smallest_map_holds_the_tasks_alone() -> None:
    suite = ThreadsSuite(pairs=1 + 2 * KEYS + 2 * 7, hops=(2, 5), samples=1)
    (scene,) = suite.scenes()
    gold = {place.text for probe in scene.probes for place in probe.gold}
    assert gold == set(lines_of(scene))
    assert suite.description["hops"] == "2, 5"
    assert (suite.name, suite.grouped_by) == ("threads", ("task", "hops"))


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"pairs": 100}, "pairs is 100, and the tasks take 115; use at least 115 pairs"),
        ({"hops": (1, 2)}, "hops are .*2 or more"),
        ({"hops": (2, 2)}, "hops are .*once"),
        ({"samples": 0}, "samples is 0; use at least 1"),
    ],
)
def test_a_suite_that_cannot_be_is_refused(wrong: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ThreadsSuite(**wrong)  # type: ignore[arg-type]
