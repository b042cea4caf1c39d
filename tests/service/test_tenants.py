"""No tenant can see, ask, watch, change or delete what is another's, by any method and name."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx2
import pytest
from google.longrunning import operations_pb2
from longmemory.v1 import cartridge_pb2, corpus_pb2, job_pb2, query_pb2
from tenant_room import SECRETS, TEXTS, Member, TenantRoom, tenant_room
from tenant_rows import (
    IDEMPOTENT,
    METHODS,
    NAMELESS,
    NAMING,
    OTHER_WORDS,
    Things,
    make_things,
    named_in,
    outcome,
    rows,
    words_of,
)

ANSWERED_WITH_NOTHING = {
    "/longmemory.v1.CorpusService/GetUpload",  # of a corpus that both have
    "/google.longrunning.Operations/ListOperations",
}


@dataclass(frozen=True)
class Town:
    """Two tenants; `things` are alpha's."""

    room: TenantRoom
    alpha: Member
    beta: Member
    things: Things


@pytest.fixture(scope="module")
def town(
    lasting_state: str, tmp_path_factory: pytest.TempPathFactory, model_folder: Path
) -> Iterator[Town]:
    with tenant_room(tmp_path_factory.mktemp("town") / "data", model_folder, lasting_state) as room:
        alpha, beta = room.member("alpha"), room.member("beta")
        things = make_things(alpha, TEXTS["alpha"])
        beta.fill("books", TEXTS["beta"])
        yield Town(room, alpha, beta, things)


def test_every_method_has_requests_that_fill_each_field_that_names_something() -> None:
    names = "0123456789abcdef" * 2
    filled = rows(Things("secret", "a.txt", "cart-one", names, names, names, names, names))
    assert set(filled) | NAMELESS == set(METHODS)
    assert not set(filled) & NAMELESS
    for path, method in METHODS.items():
        words = set(words_of(method.input_type))
        assert {name for _, name in words} <= NAMING | OTHER_WORDS, path
        wanted = {
            (message, name)
            for message, name in words
            if name in NAMING and not (name == "request_id" and message in IDEMPOTENT)
        }
        requests = [
            one for row in filled.get(path, ()) for one in (row if isinstance(row, list) else [row])
        ]
        assert wanted <= {found for one in requests for found in named_in(one)}, path


@pytest.mark.parametrize("path", sorted(set(METHODS) - NAMELESS))
def test_what_another_tenant_has_is_as_unknown_as_what_nobody_has(town: Town, path: str) -> None:
    known, unknown = town.things, town.things.unknown()
    before = town.alpha.everything()
    for theirs, nobodys in zip(rows(known)[path], rows(unknown)[path], strict=True):
        told, expected = outcome(town.beta, path, theirs), outcome(town.beta, path, nobodys)
        assert told.code == expected.code
        assert told.told == unknown.renamed(expected.told, known)
        assert told.code in ("OK", "NOT_FOUND")
        assert told.code == "NOT_FOUND" or path in ANSWERED_WITH_NOTHING
        assert not told.names_a_secret
    assert town.alpha.everything() == before


def test_lists_and_their_later_pages_hold_the_callers_own_alone(town: Town) -> None:
    listed = town.alpha.corpora.ListCorpora(corpus_pb2.ListCorporaRequest(page_size=1))
    jobs = town.alpha.operations.ListOperations(operations_pb2.ListOperationsRequest(page_size=1))
    assert listed.next_page_token
    assert jobs.next_page_token
    mine = town.beta.corpora.ListCorpora(corpus_pb2.ListCorporaRequest())
    assert [one.name for one in mine.corpora] == ["corpora/books"]
    later = town.beta.corpora.ListCorpora(
        corpus_pb2.ListCorporaRequest(page_token=listed.next_page_token)
    )
    assert {one.name for one in later.corpora} <= {"corpora/books"}
    every = town.beta.operations.ListOperations(operations_pb2.ListOperationsRequest())
    later_jobs = town.beta.operations.ListOperations(
        operations_pb2.ListOperationsRequest(page_token=jobs.next_page_token)
    )
    own = {one.name for one in every.operations}
    assert len(own) == 1
    assert {one.name for one in later_jobs.operations} <= own
    asked = cartridge_pb2.ListCartridgesRequest(parent="corpora/-")
    assert not town.beta.cartridges.ListCartridges(asked).cartridges
    assert len(town.alpha.cartridges.ListCartridges(asked).cartridges) == 2


def test_one_name_in_two_tenants_is_two_texts_each_asked_by_its_own(town: Town) -> None:
    for caller, own in ((town.alpha, SECRETS[:2]), (town.beta, SECRETS[2:])):
        others = set(SECRETS) - set(own)
        for route in (query_pb2.ROUTE_CRAG, query_pb2.ROUTE_INFINI_RETRI):
            answer = caller.queries.Query(caller.ask("books", "Who tends the lamp?", route=route))
            told = " ".join(one.text for one in answer.evidence).lower()
            assert own[0] in told
            assert not [word for word in others if word in told]
        found = caller.queries.Retrieve(
            query_pb2.RetrieveRequest(query=caller.ask("books"), max_candidates=100)
        )
        told = " ".join(one.text for one in found.candidates).lower()
        assert [word in told for word in own] == [True, True]
        assert not [word for word in others if word in told]


def test_a_question_takes_a_place_of_its_own_tenant_by_both_doors(town: Town) -> None:
    service, gate = town.room.service, threading.Event()
    body = {"model": "memory/books", "messages": [{"role": "user", "content": "Who?"}]}
    headers = {"authorization": town.beta.bearer}

    async def hold() -> None:
        await service._thread.run(gate.wait)

    def post() -> httpx2.Response:
        return httpx2.post(
            f"{town.room.door}/v1/chat/completions", json=body, headers=headers, timeout=60
        )

    held = asyncio.run_coroutine_threadsafe(hold(), town.room.loop)
    with ThreadPoolExecutor(2) as pool:
        try:
            asked = pool.submit(town.alpha.queries.Query, town.alpha.ask("books"))
            posted = pool.submit(post)
            deadline = time.monotonic() + 30
            while service.admission.under_way < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            holders = sorted(place.tenant for place in service.admission._taken.values())
        finally:
            gate.set()
        assert asked.result().route
        assert posted.result().status_code == 200
    held.result(30)
    assert holders == ["alpha", "beta"]


def test_a_text_that_another_tenant_stored_cannot_be_had_by_its_digest(town: Town) -> None:
    listed = town.alpha.corpora.ListDocuments(
        corpus_pb2.ListDocumentsRequest(parent="corpora/secret")
    )
    (theirs,) = (one.sha256 for one in listed.documents)
    told = []
    for digest in (theirs, theirs[::-1]):
        for data in (b"", b"guessed"):
            with pytest.raises(grpc.RpcError) as caught:
                town.beta.upload("books", "stolen.txt", data, sha256=digest)
            told.append(caught.value.details().replace(digest, "-"))
    assert told[:2] == told[2:]
    assert len(set(told)) == 2
    stored = [path.name for path in (town.beta.data / "documents").rglob("*") if path.is_file()]
    assert theirs not in stored
    town.beta.create("copy")
    town.beta.upload("copy", "a.txt", TEXTS["alpha"].encode(), sha256=theirs)
    name = f"documents/{theirs[:2]}/{theirs}"
    places = [member.data / name for member in (town.alpha, town.beta)]
    assert [place.exists() for place in places] == [True, True]
    assert not places[0].samefile(places[1])
    town.beta.corpora.DeleteCorpus(corpus_pb2.DeleteCorpusRequest(name="corpora/copy"))
    assert places[0].exists()


def test_a_request_id_is_one_tenants_own(town: Town) -> None:
    shared = "00000000-0000-4000-8000-0000000000bb"
    town.alpha.create("idem-alpha", shared)
    assert town.beta.create("idem-beta", shared).name == "corpora/idem-beta"
    asks = [
        caller.ask("books", route=query_pb2.ROUTE_CRAG, request_id=shared)
        for caller in (town.alpha, town.beta)
    ]
    answers = [
        caller.queries.Query(asked)
        for caller, asked in zip((town.alpha, town.beta), asks, strict=True)
    ]
    assert "wilhelmina" in str(answers[0]).lower()
    assert "wilhelmina" not in str(answers[1]).lower()
    assert "bartholomew" in str(answers[1]).lower()
    assert town.alpha.queries.Query(asks[0]) == answers[0]
    for caller, corpus in ((town.alpha, "idem-alpha"), (town.beta, "idem-beta")):
        caller.corpora.DeleteCorpus(corpus_pb2.DeleteCorpusRequest(name=f"corpora/{corpus}"))


def test_a_watch_hears_of_its_own_tenants_job_alone(town: Town) -> None:
    jobs = []
    for caller in (town.alpha, town.beta):
        caller.create("watched")
        caller.upload("watched", "a.txt", TEXTS[caller.name].encode())
        jobs.append(caller.index("watched"))
    town.room.work()
    for caller, job in zip((town.alpha, town.beta), jobs, strict=True):
        request = job_pb2.WatchJobRequest(name=job.name, after_event_id="0")
        events = list(caller.jobs.WatchJob(request))
        assert {event.operation.name for event in events} == {job.name}
        assert events[-1].operation.done
        caller.corpora.DeleteCorpus(corpus_pb2.DeleteCorpusRequest(name="corpora/watched"))
    assert jobs[0].name != jobs[1].name


def test_a_tenant_named_like_another_ones_folder_or_table_has_nothing_of_it(town: Town) -> None:
    for name in ("default", "tenants", "alp", "alpha2"):
        stranger = town.room.member(name)
        assert not stranger.corpora.ListCorpora(corpus_pb2.ListCorporaRequest()).corpora
        listed = stranger.operations.ListOperations(operations_pb2.ListOperationsRequest())
        assert not listed.operations


def test_the_same_requests_reach_their_owners_things(town: Town) -> None:
    owner = town.room.member("gamma")
    things = make_things(owner, TEXTS["alpha"])
    for path, requests in rows(things).items():
        for request in requests:
            found = outcome(owner, path, request)
            is_empty_chunk = path.endswith("UploadDocuments")  # which changes nothing
            assert found.code == "OK", (path, found)
            assert (
                found.told
                or "Delete" in path
                or "Evict" in path
                or "Cancel" in path
                or (is_empty_chunk)
            )
