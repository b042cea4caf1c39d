"""RULER's tasks: as many needles as each task says, all of its words, and its scoring."""

import re
from pathlib import Path

import pytest

from evaluation import ruler_trials
from evaluation.haystack_texts import HaystackError
from evaluation.ruler import RulerSuite
from evaluation.ruler_trials import TASKS, Words
from evaluation.scenes import Probe, Scene

NEEDLE = re.compile(r"One of the special magic (numbers|uuids) for (\S+) is: (\S+)\.")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAMES = [task.name for task in TASKS] + ["vt"]
CHARACTERS = 30_000


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of tales, and a package of words that must not be imported."""
    assets = tmp_path / "site" / "wonderwords" / "assets"
    assets.mkdir(parents=True)
    (assets.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    adjectives = [f"ad{a}{b}y" for a in "abcdefghijk" for b in "lmnopqrst"]
    nouns = [f"no{a}{b}n" for a in "abcdefghijk" for b in "lmnopqrst"]
    (assets / "adjectivelist.txt").write_text("\n".join([*adjectives, "self-made", "rude"]))
    (assets / "nounlist.txt").write_text("\n".join([*nouns, "TV", "T-shirt"]))
    (assets / "profanitylist.txt").write_text("rude\nruder")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    texts = tmp_path / "texts"
    texts.mkdir()
    for i in range(12):
        text = " ".join(f"Tale {i} tells of day {j} at the old quay." for j in range(90))
        (texts / f"tale{i:02d}.txt").write_text(text)
    return str(texts)


@pytest.fixture
def scenes(source: str) -> dict[str, Scene]:
    found = RulerSuite(5, CHARACTERS, "8k", 1, source).scenes()
    return {str(scene.probes[0].labels["task"]): scene for scene in found}


def text_of(scene: Scene) -> str:
    return "\n".join(document.data().decode() for document in scene.documents)


def needles_of(scene: Scene) -> list[tuple[str, str, str]]:
    return NEEDLE.findall(text_of(scene))


def the_probe(scene: Scene) -> Probe:
    (probe,) = scene.probes
    return probe


def test_there_are_the_nine_tasks_of_retrieval(scenes: dict[str, Scene]) -> None:
    assert list(scenes) == NAMES
    for task, scene in scenes.items():
        assert scene.id == f"ruler-8k-{task.replace('_', '-')}-00"
        assert the_probe(scene).labels == {"task": task, "length": "8k"}


@pytest.mark.parametrize("task", NAMES)
def test_gold_stands_once_in_its_document_and_tells_the_whole_answer(
    scenes: dict[str, Scene], task: str
) -> None:
    scene, probe = scenes[task], the_probe(scenes[task])
    documents = {document.id: document.data().decode() for document in scene.documents}
    for gold in probe.gold:
        assert documents[gold.document].count(gold.text) == 1
    assert probe.score(" ".join(gold.text for gold in probe.gold)) == 1.0
    assert probe.score(probe.question) == 0.0


@pytest.mark.parametrize("task", NAMES)
def test_a_text_is_as_long_as_asked_in_small_documents(scenes: dict[str, Scene], task: str) -> None:
    sizes = [len(document.data().decode()) for document in scenes[task].documents]
    assert CHARACTERS - 400 < sum(sizes) <= CHARACTERS
    assert len(sizes) > 1
    assert max(sizes) < 21_000


@pytest.mark.parametrize(
    ("task", "needles", "keys", "answers"),
    [
        ("niah_single_1", 1, 1, 1),
        ("niah_single_2", 1, 1, 1),
        ("niah_single_3", 1, 1, 1),
        ("niah_multikey_1", 4, 4, 1),
        ("niah_multivalue", 4, 1, 4),
        ("niah_multiquery", 4, 4, 4),
    ],
)
def test_a_task_has_its_numbers_of_needles_keys_and_answers(
    scenes: dict[str, Scene], task: str, needles: int, keys: int, answers: int
) -> None:
    found = needles_of(scenes[task])
    probe = the_probe(scenes[task])
    assert len(found) == len({value for _type, _key, value in found}) == needles
    assert len({key for _type, key, _value in found}) == keys
    assert len(probe.answers) == len(probe.gold) == answers
    asked = {key for _type, key, _value in found if key in probe.question}
    told = {value for _type, key, value in found if key in asked}
    assert {form for (form,) in probe.answers} == told


@pytest.mark.parametrize("task", ["niah_multikey_2", "niah_multikey_3"])
def test_a_haystack_of_needles_holds_nothing_else(scenes: dict[str, Scene], task: str) -> None:
    found = needles_of(scenes[task])
    lines = [line for line in text_of(scenes[task]).splitlines() if line]
    assert len(lines) == len(found) > 100
    assert len({key for _type, key, _value in found}) == len(found)
    ((answer,),) = the_probe(scenes[task]).answers
    assert [value for _type, _key, value in found].count(answer) == 1


def test_keys_and_values_are_of_the_types_that_a_task_names(scenes: dict[str, Scene]) -> None:
    for task in TASKS:
        for told, key, value in needles_of(scenes[task.name]):
            is_uuid = UUID.fullmatch(value) is not None
            assert told == task.value_type == ("uuids" if is_uuid else "numbers")
            assert is_uuid or re.fullmatch(r"\d{7}", value)
            wanted = UUID if task.key_type == "uuids" else re.compile(r"ad\w\wy-no\w\wn")
            assert wanted.fullmatch(key)


def test_questions_name_one_thing_or_all_of_several(scenes: dict[str, Scene]) -> None:
    one = r"What is the special magic number for (\S+) mentioned in the provided text\?"
    uuid = r"What is the special magic uuid for (\S+) mentioned in the provided text\?"
    values = r"What are all the special magic numbers for (\S+) mentioned in the provided text\?"
    keys = r"What are all the special magic numbers for \S+, \S+, \S+, and \S+ mentioned in .*\?"
    wanted = dict(zip(NAMES, (one, one, uuid, one, one, uuid, values, keys), strict=False))
    for task, question in wanted.items():
        assert re.fullmatch(question, the_probe(scenes[task]).question), task


def test_noise_is_rulers_own_and_essays_come_from_the_source(scenes: dict[str, Scene]) -> None:
    assert text_of(scenes["niah_single_1"]).count("The grass is green. The sky is blue.") > 300
    assert "Tale" not in text_of(scenes["niah_single_1"])
    for task in ("niah_single_2", "niah_multikey_1", "niah_multivalue", "niah_multiquery"):
        assert text_of(scenes[task]).count("Tale") > 500
        assert "grass" not in text_of(scenes[task])


def test_variables_are_a_chain_of_four_hops_in_order(scenes: dict[str, Scene]) -> None:
    probe, text = the_probe(scenes["vt"]), text_of(scenes["vt"])
    statements = re.findall(r"VAR ([A-Z]{5}) = (?:VAR ([A-Z]{5})|(\d{5}))$", text, re.MULTILINE)
    (value,) = re.findall(r"\d+", probe.question)

    names = [name for name, _before, _value in statements]
    assert len(names) == 5
    assert statements[0] == (names[0], "", value)
    assert [before for _name, before, _value in statements[1:]] == names[:-1]
    assert probe.answers == tuple((name,) for name in names)
    assert text.count("The grass is green.") > 300


def test_the_score_is_the_share_of_the_expected_strings_whatever_their_case(
    scenes: dict[str, Scene],
) -> None:
    values = [form for (form,) in the_probe(scenes["niah_multivalue"]).answers]
    assert the_probe(scenes["niah_multivalue"]).score(f"{values[3]}, {values[1]}.") == 0.5
    names = [form for (form,) in the_probe(scenes["vt"]).answers]
    assert the_probe(scenes["vt"]).score(f"var {names[0].lower()}") == pytest.approx(0.2)


def test_an_answer_has_the_room_that_ruler_gives(scenes: dict[str, Scene]) -> None:
    room = {task: the_probe(scene).max_output_tokens for task, scene in scenes.items()}
    assert room.pop("vt") == 30
    assert set(room.values()) == {128}


def test_the_same_seed_gives_the_same_scenes_and_another_seed_others(source: str) -> None:
    one, again, other = (
        list(RulerSuite(seed, 4_000, "1k", 2, source).scenes()) for seed in (1, 1, 2)
    )
    assert one == again
    answers = [scene.probes[0].answers for scene in (*one, *other)]
    assert len(set(answers)) == 4 * len(NAMES)
    assert len({scene.id for scene in one}) == 2 * len(NAMES)


def test_depths_are_spread_over_the_text(source: str) -> None:
    suite = RulerSuite(1, 4_000, "1k", 20, source)
    places = []
    for scene in suite.scenes():
        if scene.probes[0].labels["task"] == "niah_single_2":
            text = text_of(scene)
            places.append(text.index(scene.probes[0].gold[0].text) / len(text))
    assert min(places) < 0.25
    assert max(places) > 0.75


def test_words_are_plain_and_none_is_rude(source: str) -> None:
    words = Words.read()
    assert len(words.adjectives) == len(words.nouns) == 99
    assert not {"rude", "self-made", "TV"} & {*words.adjectives, *words.nouns}


def test_missing_words_are_told_with_the_mend(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruler_trials, "package_folder", lambda package: None)
    with pytest.raises(HaystackError, match="pip install wonderwords"):
        next(RulerSuite(1, 4_000, "1k", 1, source).scenes())


def test_the_description_tells_where_the_text_is_from(source: str) -> None:
    suite = RulerSuite(1, 4_000, "1k", 2, source)
    assert source in str(suite.description["source"])
    assert "wonderwords" in str(suite.description["source"])
    assert suite.description["repeated"] == 1.0
    assert (suite.name, suite.grouped_by) == ("ruler", ("task",))


@pytest.mark.parametrize(
    ("characters", "samples", "problem"),
    [(4_000, 0, "samples is 0; use at least 1"), (100, 1, "characters is 100; use at least 2000")],
)
def test_a_suite_that_cannot_be_is_refused(characters: int, samples: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RulerSuite(1, characters, "x", samples)
