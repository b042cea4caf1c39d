"""A fail point does nothing, unless the environment asks for a process' end there."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from engine.fail_point import FAIL_POINTS, VARIABLE, Fault, asked_fault, fail_point

ROOT = Path(__file__).parents[2]
ROOMS = ("engine", "cartridges", "retrieval", "service")
PASSING = "from engine.fail_point import fail_point as f; f('{0}'); print(1); f('{1}'); print(2)"


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if getattr(call.func, "id", "") == name]


def said(value: ast.expr) -> str:
    assert isinstance(value, ast.Constant)
    return str(value.value)


def steps_of_staging() -> dict[str, list[str]]:
    """The steps whose points each function passes that brings things to their places."""
    path = ROOT / "engine" / "plain_folder.py"
    functions = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    steps = {one.name: [said(c.args[1]) for c in calls(one, "staging_point")] for one in functions}
    return {name: found for name, found in steps.items() if found}


def test_every_name_stands_at_one_place_of_the_source() -> None:
    steps = steps_of_staging()
    assert list(steps) == ["staged", "staged_folder"]
    names = []
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names += [said(call.args[0]) for call in calls(tree, "fail_point")]
            for function, passed in steps.items():
                for call in calls(tree, function):
                    things = [said(word.value) for word in call.keywords if word.arg == "point"]
                    names += [f"{thing}.{step}" for thing in things for step in passed]
    assert sorted(names) == sorted(FAIL_POINTS)


def test_nothing_happens_where_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert asked_fault() is None
    fail_point("cartridge.stored")
    monkeypatch.setenv(VARIABLE, "")
    assert asked_fault() is None


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("cartridge.stored", Fault("cartridge.stored")),
        ("cartridge.stored:3", Fault("cartridge.stored", 3)),
        ("window.forced:1:stop", Fault("window.forced", 1, is_stop=True)),
    ],
)
def test_a_point_is_asked_for_by_name_and_pass(
    monkeypatch: pytest.MonkeyPatch, given: str, fault: Fault
) -> None:
    monkeypatch.setenv(VARIABLE, given)
    assert asked_fault() == fault


@pytest.mark.parametrize(
    "given", ["nowhere", "nowhere:1", "window.forced:0", "window.forced:x", "window.forced:1:halt"]
)
def test_what_is_no_point_is_refused_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(ValueError, match=VARIABLE) as caught:
        asked_fault()
    assert "window.forced" in str(caught.value)
    assert "unset it" in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [("text.forced", ""), ("text.forced:2", "1\n"), ("text.forced:3", "1\n2\n")],
)
def test_a_process_is_killed_at_that_pass_and_no_sooner(asked: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-u", "-c", PASSING.format("text.forced", "text.forced")],
        cwd=ROOT, env={VARIABLE: asked}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == (said, 0 if said == "1\n2\n" else -9)
