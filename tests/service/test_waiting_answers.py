"""Which answer is decoded next: tenants evenly, soon read first, nobody passed by without end."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.answer_row import GenerationRequest
from engine.prefix import KVPrefix
from engine.sampling import SamplingParams
from service.waiting_answers import PATIENCE, Start, WaitingAnswers

PREFIX = KVPrefix(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2), 4)


def start(
    name: str, prompt: int = 100, told: int = 64, tenant: str = "a", prefix: KVPrefix | None = None
) -> Start:
    params = SamplingParams(max_tokens=told)
    request = GenerationRequest(name, tuple(range(prompt)), prefix, params)
    return Start(request, lambda piece: None, tenant)


def waiting(*starts: Start) -> WaitingAnswers:
    made = WaitingAnswers()
    for one in starts:
        made.add(one)
    return made


def names(starts: list[Start]) -> list[str]:
    return [one.request.id for one in starts]


def test_equal_answers_keep_the_order_of_their_arrival() -> None:
    made = waiting(*(start(str(number)) for number in range(5)))
    assert names(made.take(3, ())) == ["0", "1", "2"]
    assert names(made.take(3, ())) == ["3", "4"]
    assert names(made.take(3, ())) == []


def test_what_is_soon_read_and_long_told_comes_before_a_long_prompt_with_a_short_answer() -> None:
    made = waiting(start("long", 7000, 16), start("middle", 500, 64), start("short", 40, 256))
    assert names(made.take(3, ())) == ["short", "middle", "long"]


def test_an_answer_from_a_prefix_that_others_are_told_from_joins_them() -> None:
    made = waiting(start("other", 400, 16), start("same", 400, 16, prefix=PREFIX))
    assert names(made.take(1, [start("now", prefix=PREFIX)])) == ["same"]


def test_tenants_share_the_places_whatever_each_has_asked() -> None:
    many = [start(f"a{number}", 40, 256) for number in range(10)]
    made = waiting(*many, start("b0", 7000, 16, "b"), start("b1", 7000, 16, "b"))
    assert names(made.take(4, ())) == ["a0", "b0", "a1", "b1"]
    assert names(made.take(1, [start("x"), start("y", tenant="b")])) == ["a2"]


def test_a_tenant_whose_answers_have_many_places_waits_for_those_who_have_none() -> None:
    made = waiting(start("a0"), start("b0", tenant="b"))
    assert names(made.take(1, [start("now"), start("too")])) == ["b0"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8000), st.integers(1, 512)), min_size=1, max_size=60))
def test_nobody_is_passed_by_more_often_than_is_allowed(asked: list[tuple[int, int]]) -> None:
    made = WaitingAnswers()
    for number, (prompt, told) in enumerate(asked):
        made.add(start(str(number), prompt, told))
    order = names(made.take(len(asked), ()))
    for number in range(len(asked)):
        passing = [other for other in order[: order.index(str(number))] if int(other) > number]
        assert len(passing) <= PATIENCE
    assert sorted(order, key=int) == [str(number) for number in range(len(asked))]


def test_a_dropped_answer_is_never_taken_and_one_that_is_not_here_is_no_trouble() -> None:
    made = waiting(start("one"), start("two"))
    made.drop("one")
    made.drop("three")
    assert len(made) == 1
    assert names(made.take_all()) == ["two"]
    assert not made
