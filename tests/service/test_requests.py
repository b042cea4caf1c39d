"""A request with an id happens once, however often and by however many it is sent."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from service.errors import ServiceError
from service.state.requests import Requests
from service.state.store import Store

ID = "00000000-0000-4000-8000-00000000000a"


class Counter:
    """A method that counts how often it ran."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.runs = 0
        self._seconds = seconds

    def __call__(self) -> bytes:
        time.sleep(self._seconds)
        self.runs += 1
        return b"answer %d" % self.runs


@pytest.fixture
def requests(store: Store) -> Requests:
    return Requests(store)


def test_a_repeat_gets_the_first_answer(requests: Requests) -> None:
    run = Counter()
    answers = [requests.once("Create", request_id, b"body", run) for request_id in (ID, ID.upper())]
    assert (answers, run.runs) == ([b"answer 1"] * 2, 1)


def test_an_answer_outlives_the_process(open_state: Callable[[], Store]) -> None:
    run = Counter()
    for _ in range(2):
        store = open_state()
        assert Requests(store).once("Create", ID, b"body", run) == b"answer 1"
        store.close()


def test_an_id_is_not_used_for_another_body(requests: Requests) -> None:
    run = Counter()
    requests.once("Create", ID, b"body", run)
    with pytest.raises(ServiceError) as caught:
        requests.once("Create", ID, b"other body", run)
    assert (caught.value.reason, run.runs) == ("REQUEST_ID_REUSED", 1)
    assert requests.once("Delete", ID, b"other body", run) == b"answer 2"


def test_a_request_without_an_id_runs_every_time(requests: Requests) -> None:
    run = Counter()
    assert [requests.once("Create", "", b"body", run) for _ in range(2)] == [
        b"answer 1",
        b"answer 2",
    ]


def test_a_failure_is_not_stored(requests: Requests) -> None:
    def broken() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        requests.once("Create", ID, b"body", broken)
    assert requests.once("Create", ID, b"body", Counter()) == b"answer 1"


def test_fifty_at_once_on_two_servers_run_once(open_state: Callable[[], Store]) -> None:
    run, answers = Counter(seconds=0.05), []
    servers = [Requests(open_state()), Requests(open_state())]

    def ask(server: Requests) -> None:
        answers.append(server.once("Create", ID, b"body", run))

    threads = [threading.Thread(target=ask, args=(servers[n % 2],)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (answers, run.runs) == ([b"answer 1"] * 50, 1)


def test_what_a_request_did_is_undone_where_its_answer_cannot_be_kept(
    requests: Requests, store: Store
) -> None:
    def run() -> bytes:
        store.put("things", ("made",), {})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        requests.once("Create", ID, b"body", run)
    assert store.get("things", ("made",)) is None


async def test_different_requests_do_not_wait_for_each_other(requests: Requests) -> None:
    both_inside = asyncio.Barrier(2)

    async def meet() -> bytes:
        async with asyncio.timeout(10):
            await both_inside.wait()
        return b"met"

    answers = await asyncio.gather(
        requests.once_async("Query", ID, b"one", meet),
        requests.once_async("Query", ID[:-1] + "b", b"two", meet),
    )
    assert answers == [b"met", b"met"]


async def test_of_two_servers_that_work_at_once_the_first_answer_counts(
    open_state: Callable[[], Store],
) -> None:
    one, two = Requests(open_state()), Requests(open_state())

    async def slow() -> bytes:
        assert await two.once_async("Query", ID, b"body", quick) == b"quick"
        return b"slow"

    async def quick() -> bytes:
        return b"quick"

    assert await one.once_async("Query", ID, b"body", slow) == b"quick"
    assert await one.once_async("Query", ID, b"body", slow) == b"quick"


def test_a_bad_id_is_refused_before_anything_runs(requests: Requests) -> None:
    run = Counter()
    with pytest.raises(ServiceError, match="request_id"):
        requests.once("Create", "not-a-uuid", b"body", run)
    assert run.runs == 0


def test_forgotten_answers_are_given_anew(requests: Requests) -> None:
    run = Counter()
    requests.once("Create", ID, b"body", run)
    assert requests.forget(time.time() - 60) == 0
    assert requests.forget(time.time() + 60) == 1
    assert requests.once("Create", ID, b"body", run) == b"answer 2"
