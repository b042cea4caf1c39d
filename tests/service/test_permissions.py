"""Every method has a row, and every method keeps to it over a real channel."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_room import GrpcRoom, open_room, refusal
from longmemory.v1 import corpus_pb2

from service.rpc.access import guarded, only
from service.rpc.permissions import EXEMPT, LEAST_ROLES
from service.rpc.running_server import RunningServer
from service.rpc.server import SERVICE_NAMES, ServerConfig, start
from service.tokens import FILE, Role, TokenFile

SERVED = (*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME)
METHODS = {
    f"/{service}/{method.name}": method
    for service in SERVED
    for method in descriptor_pool.Default().FindServiceByName(service).methods
}
DENIALS = {"TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "ROLE_TOO_LOW", "TENANT_NOT_SERVED"}


@dataclass
class Guarded:
    room: GrpcRoom
    server: RunningServer
    channel: grpc.aio.Channel
    tokens: TokenFile


@pytest.fixture
async def guarded_room(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with open_room(tmp_path) as room:
        tokens = TokenFile(tmp_path)
        access = guarded(only(room.backend), tokens, True)
        server = await start(ServerConfig("127.0.0.1:0"), room.backend, access)
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Guarded(room, server, channel, tokens)
        await server.stop()


async def reason(channel: grpc.aio.Channel, path: str, token: str | None) -> tuple[str, str]:
    """Code and reason that an empty request ends with; cut off after the first answer."""
    described = METHODS[path]
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    make: Any = kinds[described.client_streaming, described.server_streaming]
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    given: Any = iter([b""]) if described.client_streaming else b""
    call = make(path)(given, metadata=metadata, timeout=20)
    try:
        if described.server_streaming:
            await call.read()
            call.cancel()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        if error.trailing_metadata() and "grpc-status-details-bin" in error.trailing_metadata():
            found = refusal(error)
            return found.code, found.reason
        return error.code().name, ""
    return "OK", ""


def test_every_method_served_has_a_row_and_no_row_is_without_its_method() -> None:
    assert set(METHODS) == set(LEAST_ROLES) | EXEMPT
    assert not set(LEAST_ROLES) & EXEMPT


@pytest.mark.parametrize("path", sorted(METHODS))
async def test_a_method_lets_in_whom_its_row_says(guarded_room: Guarded, path: str) -> None:
    tokens, channel = guarded_room.tokens, guarded_room.channel
    secrets = {role: tokens.add("default", role)[1] for role in Role}
    gone, revoked = tokens.add("default", Role.ADMIN)
    tokens.revoke(gone.id)
    bad = secrets[Role.ADMIN][:-4] + "AAAA"
    outsiders = {None: "TOKEN_MISSING", "": "TOKEN_MISSING", "nonsense": "TOKEN_INVALID",
                 bad: "TOKEN_INVALID", revoked: "TOKEN_INVALID"}  # fmt: skip
    for token, wanted in outsiders.items():
        found = await reason(channel, path, token)
        if path in EXEMPT:
            assert found[1] not in DENIALS
        else:
            assert found == ("UNAUTHENTICATED", wanted)
    for role, secret in secrets.items():
        found = await reason(channel, path, secret)
        if path not in EXEMPT and role < LEAST_ROLES[path]:
            assert found == ("PERMISSION_DENIED", "ROLE_TOO_LOW")
        else:
            assert found[1] not in DENIALS


async def test_permission_is_checked_before_existence(guarded_room: Guarded) -> None:
    secret = guarded_room.tokens.add("default", Role.READ)[1]
    await guarded_room.room.new_corpus("books")
    told = set()
    for name in ("corpora/books", "corpora/unknown", "no name at all"):
        call = guarded_room.channel.unary_unary("/longmemory.v1.CorpusService/DeleteCorpus")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(
                corpus_pb2.DeleteCorpusRequest(name=name).SerializeToString(),
                metadata=(("authorization", f"Bearer {secret}"),),
            )
        told.add((refusal(caught.value).reason, refusal(caught.value).message))
    assert len(told) == 1
    assert next(iter(told))[0] == "ROLE_TOO_LOW"


async def test_a_token_of_another_tenant_reaches_nothing(guarded_room: Guarded) -> None:
    secret = guarded_room.tokens.add("other", Role.ADMIN)[1]
    found = await reason(guarded_room.channel, "/longmemory.v1.CorpusService/ListCorpora", secret)
    assert found == ("PERMISSION_DENIED", "TENANT_NOT_SERVED")


async def test_a_probe_needs_no_token(guarded_room: Guarded) -> None:
    stub = health_pb2_grpc.HealthStub(guarded_room.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1


async def test_the_first_token_closes_the_door_and_its_revocation_does_not_open_it(
    tmp_path: Path,
) -> None:
    async with open_room(tmp_path) as room:
        tokens = TokenFile(tmp_path)
        access = guarded(only(room.backend), tokens, None)
        server = await start(ServerConfig("127.0.0.1:0"), room.backend, access)
        path = "/longmemory.v1.CorpusService/ListCorpora"
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await reason(channel, path, None) == ("OK", "")
            made, secret = TokenFile(tmp_path).add("default", Role.READ)  # by another process
            assert (await reason(channel, path, None))[1] == "TOKEN_MISSING"
            assert await reason(channel, path, secret) == ("OK", "")
            TokenFile(tmp_path).revoke(made.id)
            assert (await reason(channel, path, secret))[1] == "TOKEN_INVALID"
            os.unlink(tmp_path / FILE)
            assert (await reason(channel, path, None))[1] == "TOKEN_MISSING"
        await server.stop()
