"""A request with an id happens once, however often and by however many it is sent."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import ServiceError
from service.state.database import Database
from service.state.requests import Requests

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
def requests(tmp_path: Path) -> Iterator[Requests]:
    database = Database(tmp_path / "state.sqlite3")
    yield Requests(database)
    database.close()


def test_a_repeat_gets_the_first_answer(requests: Requests) -> None:
    run = Counter()
    answers = [requests.once("Create", request_id, b"body", run) for request_id in (ID, ID.upper())]
    assert (answers, run.runs) == ([b"answer 1"] * 2, 1)


def test_an_answer_outlives_the_process(tmp_path: Path) -> None:
    run = Counter()
    for _ in range(2):
        database = Database(tmp_path / "state.sqlite3")
        assert Requests(database).once("Create", ID, b"body", run) == b"answer 1"
        database.close()


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


def test_fifty_at_once_run_once(requests: Requests) -> None:
    run, answers = Counter(seconds=0.05), []
    threads = [
        threading.Thread(target=lambda: answers.append(requests.once("Create", ID, b"body", run)))
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (answers, run.runs) == ([b"answer 1"] * 50, 1)


def test_different_requests_do_not_wait_for_each_other(requests: Requests) -> None:
    both_inside = threading.Barrier(2, timeout=10)

    def meet() -> bytes:
        both_inside.wait()
        return b"met"

    other = threading.Thread(target=lambda: requests.once("Create", ID, b"one", meet))
    other.start()
    assert requests.once("Create", ID[:-1] + "b", b"two", meet) == b"met"
    other.join()


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
