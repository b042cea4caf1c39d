"""Several owners under one bound: the bound is kept, and who has no more than his part loses nothing."""

import random

from service.fair_caches import FairCaches


def weigh(value: int) -> int:
    return value


def test_one_owner_keeps_what_it_used_last() -> None:
    cache = FairCaches[str, int](3).new()
    for name in "abc":
        cache.put(name, 1)
    assert cache.get("a") == 1
    cache.put("d", 1)
    assert [name in cache for name in "abcd"] == [True, False, True, True]
    assert cache.get("b") is None
    assert cache.drop(lambda name: name in "ac") == 2
    assert cache.values() == [1]


def test_the_newest_stays_though_it_alone_is_too_heavy() -> None:
    bound = FairCaches[str, int](10, weigh)
    one, two = bound.new(), bound.new()
    one.put("small", 3)
    two.put("huge", 99)
    assert (one.values(), two.values()) == ([], [99])
    two.put("next", 4)
    assert two.values() == [4]


def test_who_has_no_more_than_an_equal_part_loses_nothing_to_others() -> None:
    bound = FairCaches[int, int](90, weigh)
    modest, greedy, other = bound.new(), bound.new(), bound.new()
    for number in range(3):
        modest.put(number, 10)
    chance = random.Random(7)
    for number in range(500):
        chance.choice([greedy, other]).put(number, chance.randrange(1, 30))
        assert sum(bound.values()) <= 90
        assert modest.values() == [10, 10, 10]


def test_of_equals_who_used_its_things_longest_ago_gives_way() -> None:
    bound = FairCaches[str, int](2)
    one, two, three = bound.new(), bound.new(), bound.new()
    one.put("a", 1)
    two.put("b", 1)
    one.get("a")
    three.put("c", 1)
    assert [len(cache) for cache in (one, two, three)] == [1, 0, 1]


def test_an_owner_that_is_gone_weighs_nothing() -> None:
    bound = FairCaches[str, int](2)
    gone, stays = bound.new(), bound.new()
    gone.put("a", 1)
    del gone
    assert bound.values() == []
    stays.put("b", 1)
    stays.put("c", 1)
    assert len(stays) == 2


def test_equal_keys_of_two_owners_are_two_things() -> None:
    bound = FairCaches[str, int](5)
    one, two = bound.new(), bound.new()
    one.put("a", 1)
    assert two.get("a") is None
    two.put("a", 2)
    assert (one.get("a"), two.get("a")) == (1, 2)
    assert two.drop(lambda name: True) == 1
    assert one.get("a") == 1
