"""The model's thread dies: who waits is told, health says so, and the process ends as failed."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_room import open_room
from longmemory.v1 import cartridge_pb2, cartridge_pb2_grpc
from process_room import ENVIRONMENT, PATIENCE

from engine.answer_row import GenerationRequest
from engine.generation import GenerationBatch
from engine.model import LanguageModel
from engine.sampling import SamplingParams
from service.errors import ServiceError
from service.model_thread import ModelThread
from service.rpc.server import (
    _PULSE_SECONDS,
    SERVICE_NAMES,
    RunningServer,
    ServerConfig,
    serve,
)

QUERIES = "longmemory.v1.QueryService"


async def test_who_waits_for_a_thread_that_dies_is_told_and_who_comes_later_too(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = ModelThread(model)
    asked = GenerationRequest("one", tuple(model.encode("A lamp")), None, SamplingParams(4000))
    other = GenerationRequest("two", tuple(model.encode("A ferry")), None, SamplingParams(4000))
    pieces, others = thread.generate(asked), thread.generate(other)
    await anext(pieces)
    await anext(others)
    monkeypatch.setattr(GenerationBatch, "cancel", _broken)
    await pieces.aclose()  # which cancels, which nothing catches
    with pytest.raises(ServiceError, match="stops"):
        _ = [piece async for piece in others]
    await asyncio.to_thread(thread._thread.join)
    assert not thread.load.is_alive
    for late in (thread.run(lambda: 1), anext(thread.generate(asked))):
        with pytest.raises(ServiceError, match="stops"):
            await late
    thread.close()


async def test_health_says_so_within_a_second_and_serving_ends_as_failed(tmp_path: Path) -> None:
    assert _PULSE_SECONDS < 1.0  # how often the thread is looked at
    is_alive = True
    async with open_room(tmp_path) as room:
        backend = room.backend
        object.__setattr__(backend, "is_alive", lambda: is_alive)
        app: Any = SimpleNamespace(backend=backend, close=lambda: None)
        ready: asyncio.Future[RunningServer] = asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(serve(ServerConfig("127.0.0.1:0"), app, ready.set_result))
        server = await ready
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub, request = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest
            watch = stub.Watch(request(service=QUERIES))
            assert (await watch.read()).status == 1
            is_alive = False
            assert (await watch.read()).status == 2
            for name in ("", *SERVICE_NAMES):  # it still answers, so that every probe can see
                assert (await stub.Check(request(service=name))).status == 2
            with pytest.raises(ServiceError, match="died") as caught:
                await serving
    assert caught.value.reason == "INTERNAL"


SABOTAGED = """
import sys
from pathlib import Path
from service.app import run_server
from service.config import ServiceConfig
from service.model_thread import ModelThread

take, fatal = ModelThread._take_messages, Path(sys.argv[1]) / "die"

def take_or_die(thread):
    went_on = take(thread)
    if fatal.exists():
        raise MemoryError("injected")
    return went_on

ModelThread._take_messages = take_or_die
run_server(ServiceConfig(Path(sys.argv[1]), "127.0.0.1:0", sys.argv[2], threads=1))
"""


@pytest.mark.process
def test_a_process_whose_model_died_says_so_and_ends_with_a_failure(
    tmp_path: Path, model_folder: Path
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", SABOTAGED, str(data), str(model_folder)],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=file, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        with process.stdout as said:
            address = said.readline().split()[-1]
            with grpc.insecure_channel(address) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                states = health.Watch(health_pb2.HealthCheckRequest(service=QUERIES))
                assert next(states).status == 1
                (data / "die").touch()
                _wake(channel)
                assert next(states).status == 2
        assert process.wait(PATIENCE) != 0
    finally:
        process.kill()
        process.wait()
    assert "the model's thread died" in log.read_text()
    assert "MemoryError: injected" in log.read_text()


def _wake(channel: grpc.Channel) -> None:
    """Anything that the model's thread is asked for; what comes of it does not matter."""
    stub = cartridge_pb2_grpc.CartridgeServiceStub(channel)
    with contextlib.suppress(grpc.RpcError):
        stub.GetResidency(cartridge_pb2.GetResidencyRequest())


def _broken(*_: Any) -> bool:
    raise RuntimeError("injected")
