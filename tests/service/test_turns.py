"""Owners take turns, each with its own things in order."""

import pytest

from service.turns import Turns


def test_owners_take_turns_however_many_things_each_has() -> None:
    turns = Turns[str]()
    for name in ("a1", "a2", "a3", "b1", "c1", "c2"):
        turns.add(name[0], name)
    assert len(turns) == 6
    assert [turns.next() for _ in range(6)] == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert not turns


def test_who_comes_back_is_behind_those_who_wait() -> None:
    turns = Turns[str]()
    turns.add("a", "a1")
    turns.add("b", "b1")
    assert turns.next() == "a1"
    turns.add("a", "a2")
    assert [turns.next(), turns.next()] == ["b1", "a2"]


def test_nothing_comes_out_of_an_empty_queue() -> None:
    turns = Turns[str]()
    with pytest.raises(IndexError, match="nothing waits"):
        turns.next()
