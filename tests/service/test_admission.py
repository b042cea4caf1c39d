"""Who is let in, who is told to come back and when: by tokens, by places and by the pace measured."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from service.admission import Admission, tokens_asked
from service.errors import Code, ServiceError
from service.limits import Limits
from service.pace import Load, Pace
from service.whose_call import tenant_under_way, works_for


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(admission: Admission, tokens: int, deadline: float | None = None) -> ServiceError:
    with pytest.raises(ServiceError) as caught, admission.admit(tokens, deadline):
        pass
    return caught.value


def make(clock: Clock, places: int = 1, queue: int = 10, tokens: int = 1000) -> Admission:
    return Admission(Limits(max_queue=queue, max_queue_tokens=tokens), places, clock)


def learn(admission: Admission, clock: Clock, tokens: int, seconds: float) -> None:
    for _ in range(100):  # what was assumed before has faded
        with admission.admit(tokens):
            clock.now += seconds


def test_the_queue_is_bounded_in_tokens_and_says_when_there_will_be_room() -> None:
    clock = Clock()
    admission = make(clock)
    learn(admission, clock, 100, 2.0)
    with admission.admit(400), admission.admit(400):
        error = refused(admission, 700)
        assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert error.retry_after_seconds == pytest.approx(500 / 50, rel=0.01)
        with admission.admit(200):
            assert admission.load == Load(3, 1000, 1)
    assert admission.load.tokens == 0


def test_the_queue_is_bounded_in_questions_too() -> None:
    admission = make(Clock(), queue=2)
    with admission.admit(1), admission.admit(1):
        assert refused(admission, 1).reason == "QUEUE_FULL"


def test_a_question_larger_than_the_queue_is_answered_alone() -> None:
    admission = make(Clock())
    with admission.admit(5000):
        assert refused(admission, 1).reason == "QUEUE_FULL"


def test_a_deadline_shorter_than_the_wait_is_refused_at_once() -> None:
    clock = Clock()
    admission = make(clock)
    learn(admission, clock, 100, 1.0)
    with admission.admit(500):  # five seconds of work before the next one's turn
        error = refused(admission, 100, clock.now + 3)
        assert (error.code, error.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT")
        assert error.retry_after_seconds == pytest.approx(2.0, abs=0.1)
        with admission.admit(100, clock.now + 6):
            pass


def test_a_free_place_is_no_wait_however_slow_the_answers() -> None:
    clock = Clock()
    admission = make(clock, places=2)
    learn(admission, clock, 1, 100.0)
    with admission.admit(10), admission.admit(10, clock.now + 0.1):
        assert refused(admission, 10, clock.now + 0.1).reason == "DEADLINE_TOO_SHORT"


def test_an_answer_cut_short_teaches_nothing() -> None:
    clock = Clock()
    admission = make(clock)
    before = admission.pace

    def leave() -> None:
        with admission.admit(100):
            clock.now += 0.001
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    assert admission.pace == before
    assert admission.under_way == 0


def test_answers_that_end_together_make_the_pace_of_their_batch() -> None:
    clock = Clock()
    admission = make(clock, places=4)
    for _ in range(100):
        with ExitStack() as batch:
            for _ in range(4):
                batch.enter_context(admission.admit(100))
            clock.now += 2.0
    assert admission.pace.tokens_per_second == pytest.approx(200, rel=0.25)


def test_a_machine_that_got_slower_is_noticed() -> None:
    pace = Pace()
    for _ in range(50):
        pace = pace.learned(100, 1.0)
    for _ in range(30):
        pace = pace.learned(100, 10.0)
    assert pace.tokens_per_second == pytest.approx(10, rel=0.1)


def test_tokens_are_those_of_question_evidence_and_answer_within_the_callers_budget() -> None:
    assert tokens_asked("x" * 300, 256, 0, 50) == 100 + 256 + 50
    assert tokens_asked("x" * 300, 256, 120, 50) == 120 + 50


def test_work_beside_questions_takes_a_place_and_tells_nothing_of_their_pace() -> None:
    clock = Clock()
    admission = make(clock, queue=2)
    learn(admission, clock, 100, 2.0)
    before = admission.pace
    with admission.admit_beside(300):
        assert admission.load == Load(1, 300, 1)
        clock.now += 500
        with admission.admit(100):
            assert refused(admission, 1).reason == "QUEUE_FULL"
            clock.now += 2.0
    assert admission.under_way == 0
    assert admission.pace.tokens_per_second == pytest.approx(before.tokens_per_second, rel=1e-3)


@contextmanager
def of(tenant: str) -> Iterator[None]:
    before = tenant_under_way()
    works_for(tenant)
    yield
    works_for(before)


def test_a_lone_tenant_has_the_whole_queue() -> None:
    admission = make(Clock(), queue=4)
    with of("a"), ExitStack() as held:
        for _ in range(4):
            held.enter_context(admission.admit(1))
        assert refused(admission, 1).reason == "QUEUE_FULL"


def test_once_two_tenants_have_asked_neither_takes_the_last_places_from_the_other() -> None:
    admission = make(Clock(), queue=8)
    with of("b"), admission.admit(1):
        pass
    with of("a"), ExitStack() as held:
        for _ in range(6):
            held.enter_context(admission.admit(1))
        error = refused(admission, 1)
        assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "TENANT_QUEUE_FULL")
        assert "'a'" in error.message
        assert error.retry_after_seconds
        with of("b"), admission.admit(1), admission.admit(1):
            assert refused(admission, 1).reason == "QUEUE_FULL"


def test_a_tenants_share_holds_for_tokens_too_and_one_large_question_is_let_in() -> None:
    admission = make(Clock(), tokens=1000)
    with of("b"), admission.admit(1):
        pass
    with of("a"), admission.admit(900):
        assert refused(admission, 1).reason == "TENANT_QUEUE_FULL"
        with of("b"), admission.admit(100):
            pass


def test_a_tenant_with_nothing_under_way_waits_for_one_answer_of_each_other_alone() -> None:
    clock = Clock()
    admission = make(clock, places=1, queue=20, tokens=10_000)
    learn(admission, clock, 100, 1.0)
    with of("a"), ExitStack() as held:
        for _ in range(8):
            held.enter_context(admission.admit(100))
        assert refused(admission, 1, clock.now + 7).reason == "DEADLINE_TOO_SHORT"
        with of("b"), admission.admit(100, clock.now + 1.5):
            pass


def test_what_is_refused_before_the_caller_is_known_is_what_nobody_could_get() -> None:
    clock = Clock()
    admission = make(clock, queue=8)
    learn(admission, clock, 100, 1.0)
    with of("b"), admission.admit(1):
        pass
    with of("a"), ExitStack() as held:
        for _ in range(6):
            held.enter_context(admission.admit(100))
        admission.require_open(clock.now + 1.5)
        with of("b"), admission.admit(1), admission.admit(1), pytest.raises(ServiceError):
            admission.require_open()
