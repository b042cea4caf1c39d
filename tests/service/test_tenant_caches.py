"""What is loaded, remembered, counted, logged and shown for one tenant is for that tenant alone."""

import gc
import json
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from longmemory.v1 import cartridge_pb2, corpus_pb2, query_pb2
from prometheus_client import generate_latest
from tenant_room import SECRETS, TEXTS, Member, TenantRoom, tenant_room
from typer.testing import CliRunner

from service.cli.main import app
from service.tokens import Role

CARTRIDGE = "corpora/twin/cartridges/cart-one"


@dataclass(frozen=True)
class Twins:
    """Two tenants with one text under one name, and a cartridge of it under one name."""

    room: TenantRoom
    alpha: Member
    beta: Member
    read: tuple[dict[str, float], dict[str, float]]  # what their index jobs measured


@pytest.fixture(scope="module")
def twins(
    lasting_state: str, tmp_path_factory: pytest.TempPathFactory, model_folder: Path
) -> Iterator[Twins]:
    data = tmp_path_factory.mktemp("twins") / "data"
    with tenant_room(data, model_folder, lasting_state) as room:
        yield _filled(room)


def _filled(room: TenantRoom) -> Twins:
    alpha, beta = room.member("alpha"), room.member("beta")
    read = []
    for member in (alpha, beta):
        read.append(member.metrics(member.fill("twin", TEXTS["alpha"])))
        member.train("twin")
        room.work()
    return Twins(room, alpha, beta, (read[0], read[1]))


def warm(member: Member) -> Any:
    return member.cartridges.WarmCartridge(cartridge_pb2.WarmCartridgeRequest(name=CARTRIDGE))


def evict(member: Member) -> None:
    member.cartridges.EvictCartridge(cartridge_pb2.EvictCartridgeRequest(name=CARTRIDGE))


def test_equal_texts_are_read_by_each_tenants_own_job(twins: Twins) -> None:
    first, second = twins.read
    assert first["windows_read"] == first["windows"] > 0
    assert second["windows_read"] == second["windows"], "nothing of the other's index was taken"
    files = [
        {path.name: path for path in (member.data / "windows").rglob("*") if path.is_file()}
        for member in (twins.alpha, twins.beta)
    ]
    assert set(files[0]) == set(files[1]) != set()
    assert not [name for name in files[0] if files[0][name].samefile(files[1][name])]


def test_a_cartridge_in_memory_is_found_by_its_own_tenant_alone(twins: Twins) -> None:
    memory = twins.room.service._shared.memory
    for member in (twins.alpha, twins.beta):
        evict(member)
    warm(twins.alpha)
    hits, loads = memory.hits, memory.loads
    assert twins.beta.resident() == []
    asked = twins.beta.ask("twin", route=query_pb2.ROUTE_CARTRIDGE)
    assert twins.beta.queries.Query(asked).usage.prefix_tokens == 8
    assert (memory.hits, memory.loads) == (hits, loads + 1), "it was read from beta's own files"
    held = [member.library().resident()[0] for member in (twins.alpha, twins.beta)]
    assert held[0].cartridge.prefix is not held[1].cartridge.prefix
    assert held[0].hits == 1, "beta's question did not count for alpha's"
    evict(twins.beta)
    assert (twins.alpha.resident(), twins.beta.resident()) == ([CARTRIDGE], [])
    warm(twins.beta)
    twins.alpha.corpora.DeleteDocument(
        corpus_pb2.DeleteDocumentRequest(corpus="corpora/twin", document_id="a.txt")
    )
    twins.alpha.upload("twin", "a.txt", TEXTS["alpha"].encode())
    twins.alpha.index("twin")
    twins.room.work()
    assert twins.beta.resident() == [CARTRIDGE]


def test_an_index_in_memory_and_what_it_was_asked_is_one_tenants_own(
    twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, encoded = "Who keeps the zanzibarite lens?", []
    embedder = twins.room.service._embedder
    encode = embedder.embed

    def counted(texts: Any, *more: Any, **named: Any) -> Any:
        encoded.extend(text for text in texts if text == question)
        return encode(texts, *more, **named)

    monkeypatch.setattr(embedder, "embed", counted)
    indexes = []
    for number, member in enumerate((twins.alpha, twins.beta), 1):
        for _ in range(2):
            asked = query_pb2.RetrieveRequest(
                query=member.ask("twin", question, route=query_pb2.ROUTE_CRAG)
            )
            member.queries.Retrieve(asked)
        assert len(encoded) == number, "once for each tenant, whoever asked before"
        corpus = member.backend().corpora.get("twin")
        indexes.append(member.library().corpus(corpus).index)
    assert indexes[0] is not indexes[1]
    assert not np.shares_memory(indexes[0].vectors, indexes[1].vectors)
    keys = [index.keys[0] for index in indexes]
    assert keys[0] is not keys[1]


def test_what_is_shared_keeps_no_tenants_words(twins: Twins) -> None:
    for member in (twins.alpha, twins.beta):
        member.queries.Query(member.ask("twin", f"Who is {SECRETS[0]}?"))
    log, page = twins.room.log.getvalue(), metrics_page(twins.room)
    for word in SECRETS:
        assert word not in log.lower()
        assert word not in page.lower()
    for name in ("alpha", "beta", "twin", "cart-one"):
        assert name not in page
    calls = [json.loads(line) for line in log.splitlines() if '"event": "call"' in line]
    assert {call["tenant"] for call in calls if "tenant" in call} == {"alpha", "beta"}
    assert not [call for call in calls if "twin" in json.dumps(call)]


def test_metrics_count_all_tenants_and_name_none(twins: Twins) -> None:
    before = metrics_page(twins.room)
    for name in ("tenant-one", "tenant-two"):
        twins.room.member(name).corpora.ListCorpora(corpus_pb2.ListCorporaRequest())
    after = metrics_page(twins.room)
    assert _series(after) == _series(before), "a new tenant brings no new series"
    assert 'longmemory_jobs{kind="train",state="succeeded"} 2.0' in after
    assert "tenant-one" not in after


def test_the_http_door_shows_and_serves_the_callers_tenant_alone(twins: Twins) -> None:
    twins.alpha.fill("alphas", TEXTS["alpha"])
    with _openai(twins.alpha) as mine, _openai(twins.beta) as other:
        names = [[model.id for model in client.models.list()] for client in (mine, other)]
        assert "memory/alphas" in names[0]
        assert "memory/twin" in names[1]
        assert "memory/alphas" not in names[1]
        assert mine.models.retrieve("memory/alphas").id == "memory/alphas"
        said = mine.chat.completions.create(
            model="memory/alphas", max_tokens=2, messages=[{"role": "user", "content": "Who?"}]
        )
        assert said.model == "memory/alphas"
        assert len(other.embeddings.create(model="all-minilm-l6-v2", input="lamp").data) == 1
    bodies = {}
    for model in ("memory/alphas", "memory/nobody"):
        asked = json.dumps({"model": model, "messages": [{"role": "user", "content": "Who?"}]})
        bodies[model] = [
            _raw(twins.beta.bearer, f"{twins.room.door}/v1/models/{model}"),
            _raw(twins.beta.bearer, f"{twins.room.door}/v1/chat/completions", asked.encode()),
        ]
        assert [status for status, _ in bodies[model]] == [404, 404]
    theirs, nobodys = bodies.values()
    for (_, one), (_, two) in zip(theirs, nobodys, strict=True):
        assert one == two.replace(b"nobody", b"alphas")


def test_the_door_wants_a_token_for_everything_but_its_health(twins: Twins) -> None:
    for place in ("models", "models/memory", "chat/completions", "embeddings"):
        body = b"{}" if place in ("chat/completions", "embeddings") else None
        assert _raw("", f"{twins.room.door}/v1/{place}", body)[0] == 401
    assert _raw("", f"{twins.room.door}/healthz")[0] == 200


def test_a_role_is_refused_before_its_tenant_is_made(twins: Twins) -> None:
    reader = twins.room.member("newcomer", Role.READ)
    with pytest.raises(Exception, match="needs the role admin"):
        reader.corpora.DeleteCorpus(corpus_pb2.DeleteCorpusRequest(name="corpora/alphas"))
    assert not reader.data.exists()
    reader.corpora.ListCorpora(corpus_pb2.ListCorporaRequest())
    assert reader.data.exists()


def test_a_tenants_backend_is_made_anew_after_others_and_nothing_stays_of_the_old_one(
    twins: Twins,
) -> None:
    backends = twins.room.service.backends
    warm(twins.beta)
    warm(twins.alpha)
    old = weakref.ref(twins.alpha.library())
    keys = weakref.ref(twins.alpha.library().resident()[0].cartridge.prefix.keys)
    gc.collect()
    gc.disable()
    try:
        backends._most = 1
        twins.beta.resident()  # whose backend is the last used then
        assert old() is None, "freed at once, whatever the collector does"
        assert keys() is None
    finally:
        gc.enable()
        backends._most = 64
    assert twins.alpha.resident() == []
    assert warm(twins.alpha).hits == 1


def test_the_command_line_sends_the_token_that_stands_in_front_or_in_the_environment(
    twins: Twins,
) -> None:
    call = ["corpus", "ls", "--json", "--server", twins.room.server.address]
    for flags, given in ((["--token", twins.beta.secret], ""), ([], twins.beta.secret)):
        done = CliRunner().invoke(app, [*flags, *call], env={"LONGMEMORY_TOKEN": given or None})
        assert done.exit_code == 0, done.output
        assert [one["id"] for one in json.loads(done.stdout)] == ["twin"]
    refused = CliRunner().invoke(app, call, env={"LONGMEMORY_TOKEN": None})
    assert "TOKEN_MISSING" in refused.output


def metrics_page(room: TenantRoom) -> str:
    return generate_latest(room.service.metrics.registry).decode()


def _series(page: str) -> set[str]:
    lines = (
        line for line in page.splitlines() if line.startswith(("longmemory_jobs", "longmemory_re"))
    )
    return {line.rpartition(" ")[0] for line in lines}


def _openai(member: Member) -> openai.OpenAI:
    url = f"{member.room.door}/v1"
    return openai.OpenAI(base_url=url, api_key=member.secret, max_retries=0)


def _raw(bearer: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
    headers = {"authorization": bearer} if bearer else {}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
