"""Both stores keep one contract: ordered keys, whole transactions, one writer at a time."""

import threading
from collections.abc import Callable

import pytest

from service.state.store import Key, Store, decode_key, encode_key, scoped
from service.state.table import Table

ORDERED: list[Key] = [
    (),
    (float("-inf"),),
    (-2.5,),
    (-1,),
    (0,),
    (0.5,),
    (10,),
    (1e300,),
    ("",),
    ("\x00",),
    ("\x00\x01",),
    ("\x01",),
    ("a",),
    ("a", -1),
    ("a", 2),
    ("a", 10),
    ("a", ""),
    ("a", "z"),
    ("a\x00b",),
    ("a\x01",),
    ("ab",),
    ("b",),
    ("ä",),
    ("\U0001f600",),
]


def test_keys_are_ordered_part_by_part() -> None:
    encoded = [encode_key(key) for key in ORDERED]
    assert encoded == sorted(encoded)
    assert len(set(encoded)) == len(encoded)
    assert [decode_key(data) for data in encoded] == ORDERED


def test_a_key_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_key(("\ud800",))


def fill(store: Store, *keys: Key) -> None:
    for key in keys:
        store.put("things", key, {"at": list(key)})


def keys(found: list[tuple[Key, dict[str, object]]]) -> list[Key]:
    return [key for key, _ in found]


def test_a_record_is_there_until_it_is_deleted(store: Store) -> None:
    record = {"text": "Grüße\x00\n", "list": [1, 2.5, None, True], "nested": {"a": {}}}
    store.put("things", ("one",), record)
    assert store.get("things", ("one",)) == record
    assert store.get("other", ("one",)) is None
    store.put("things", ("one",), {"new": 1})
    assert store.get_many("things", [("two",), ("one",)]) == [None, {"new": 1}]
    store.delete("things", ("one",))
    store.delete("things", ("one",))
    assert store.get("things", ("one",)) is None
    assert store.range("things") == []


def test_a_range_is_ordered_and_holds_its_prefix_alone(store: Store) -> None:
    fill(store, ("b", 1), ("a", 10), ("ab", 0), ("a", 2), ("a", "x"), ("a",))
    assert keys(store.range("things", ("a",))) == [("a",), ("a", 2), ("a", 10), ("a", "x")]
    assert keys(store.range("things", ("a",), descending=True, limit=2)) == [("a", "x"), ("a", 10)]
    assert keys(store.range("things", ("a",), after=("a", 2), limit=1)) == [("a", 10)]
    assert keys(store.range("things", ("a",), ("a", 10), descending=True)) == [("a", 2), ("a",)]
    assert keys(store.range("things"))[-1] == ("b", 1)
    assert store.range("things", ("c",)) == []
    assert store.range("things", limit=0) == []


def test_a_range_longer_than_a_batch_is_whole(store: Store) -> None:
    with store.transaction():
        fill(store, *((number,) for number in range(2500)))
    assert keys(store.range("things")) == [(float(number),) for number in range(2500)]
    assert len(store.range("things", descending=True, limit=1700)) == 1700
    many = store.get_many("things", [(number,) for number in range(2600)])
    assert [record is not None for record in many] == [True] * 2500 + [False] * 100


def test_a_transaction_sees_what_it_has_written(store: Store) -> None:
    fill(store, (1,), (2,), (3,), (5,))
    with store.transaction():
        store.delete("things", (2,))
        store.put("things", (4,), {"new": True})
        store.put("things", (5,), {"changed": True})
        assert keys(store.range("things")) == [(1,), (3,), (4,), (5,)]
        assert keys(store.range("things", limit=2)) == [(1,), (3,)]
        assert keys(store.range("things", descending=True, limit=2)) == [(5,), (4,)]
        assert keys(store.range("things", after=(3,))) == [(4,), (5,)]
        assert store.get_many("things", [(2,), (5,)]) == [None, {"changed": True}]
    assert keys(store.range("things")) == [(1,), (3,), (4,), (5,)]
    assert store.get("things", (5,)) == {"changed": True}


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    def fail_half_way() -> None:
        with store.transaction():
            fill(store, ("one",))
            with store.transaction():
                fill(store, ("two",))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert store.range("things") == []
    with store.transaction():
        fill(store, ("three",))
    assert keys(store.range("things")) == [("three",)]


def test_nobody_sees_half_of_a_transaction(open_state: Callable[[], Store]) -> None:
    store, other = open_state(), open_state()
    inside, seen = threading.Event(), []

    def read(whose: Store) -> None:
        inside.wait()
        seen.append(len(whose.range("things")))

    readers = [threading.Thread(target=read, args=(one,)) for one in (store, other)]
    for reader in readers:
        reader.start()
    with store.transaction():
        fill(store, ("one",))
        inside.set()
        readers[1].join()  # the other process waits for nothing
        fill(store, ("two",))
    readers[0].join()
    assert 1 not in seen
    assert len(other.range("things")) == 2


def test_writers_of_several_processes_take_turns(open_state: Callable[[], Store]) -> None:
    stores = [open_state(), open_state()]
    counts = Table("counts")

    def count(store: Store) -> None:
        for _ in range(25):
            with store.transaction():
                record = counts.get(store, ("all",)) or {"number": 0}
                counts.put(store, ("all",), {"number": record["number"] + 1})

    threads = [threading.Thread(target=count, args=(stores[n % 2],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0].get("counts", ("all",)) == {"number": 100}


def test_the_clock_does_not_run_back(store: Store) -> None:
    times = [store.now()]
    with store.transaction():
        times += [store.now(), store.now()]
    times.append(store.now())
    assert times == sorted(times)
    assert times[-1] - times[0] < 60


def test_scopes_share_nothing_but_the_transaction(store: Store) -> None:
    one, two = scoped(store, "one"), scoped(store, "two")
    inner = scoped(one, "two")
    assert scoped(store, "") is store
    with store.transaction():
        for scope in (one, two, inner):
            fill(scope, ("a",))
        two.delete("things", ("a",))
    assert [keys(scope.range("things")) for scope in (store, one, two, inner)] == [
        [], [("a",)], [], [("a",)],
    ]  # fmt: skip
    one.close()
    assert one.get("things", ("a",)) is not None


TABLE = Table(
    "things",
    {
        "by_size": lambda key, one: (one["size"], *key),
        "red": lambda key, one: (one["size"], *key) if one["red"] else None,
    },
)


def sized(found: list[tuple[Key, dict[str, object]]]) -> list[object]:
    return [record["size"] for _, record in found]


def test_indexes_follow_their_records(store: Store) -> None:
    for name, size, red in (("a", 3, True), ("b", 1, False), ("c", 2, True)):
        TABLE.put(store, (name,), {"size": size, "red": red})
    assert sized(TABLE.find(store, "by_size")) == [1, 2, 3]
    assert sized(TABLE.find(store, "red", descending=True)) == [3, 2]
    TABLE.put(store, ("a",), {"size": 0, "red": False})
    assert sized(TABLE.find(store, "by_size")) == [0, 1, 2]
    assert sized(TABLE.find(store, "red")) == [2]
    first = TABLE.first(store, "by_size")
    assert first is not None
    assert first[0] == (0, "a")
    assert TABLE.delete(store, ("c",)) == {"size": 2, "red": True}
    assert TABLE.delete(store, ("c",)) is None
    assert (sized(TABLE.find(store, "by_size")), TABLE.find(store, "red")) == ([0, 1], [])
    assert TABLE.delete_until(store, "by_size", 1) == 1
    assert sized(TABLE.find(store, "by_size")) == [1]
    assert len(list(TABLE.each(store))) == 1
