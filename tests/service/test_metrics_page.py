"""The page's own life: where it may listen, what it does to the server beside it, what it leaves out."""

import asyncio
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_room import open_room
from prometheus_client import REGISTRY, CollectorRegistry
from test_metrics import SOURCES

from service.rpc.server import METHODS
from service.state.job import JobCensus
from service.telemetry.metrics import Metrics
from service.telemetry.page import MetricsPage, PageAddress
from service.telemetry.reading import Reading, read_page


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464"])
def test_only_this_machine_sees_the_page_without_a_word(address: str) -> None:
    with pytest.raises(ValueError, match="set insecure"):
        PageAddress(address)
    PageAddress(address, insecure=True)


@pytest.mark.parametrize("address", ["", "9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000"])
def test_what_is_no_address_is_refused_with_its_form(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        PageAddress(address, insecure=True)


def test_a_taken_port_is_refused() -> None:
    page = MetricsPage(PageAddress("127.0.0.1:0"), CollectorRegistry())
    with pytest.raises(OSError, match="cannot serve metrics"):
        MetricsPage(PageAddress(page.url.split("/")[2]), CollectorRegistry())
    page.close()


def test_a_page_that_is_not_there_is_told_with_its_mend() -> None:
    with pytest.raises(OSError, match="--metrics"):
        read_page("127.0.0.1:1")


def test_a_part_that_cannot_answer_is_left_out_and_counted() -> None:
    def broken() -> JobCensus:
        raise OSError("the database is away")

    metrics = Metrics(METHODS, replace(SOURCES, jobs=broken))
    page = MetricsPage(PageAddress("127.0.0.1:0"), metrics.registry)
    for times in (1, 2):
        found = read_page(page.url)
        assert found.one("longmemory_scrape_failures_total", part="jobs") == times
        assert found.one("longmemory_batch_size") == 4
        assert "longmemory_jobs" not in found.values
    page.close()


async def test_a_slow_part_and_a_silent_scraper_stall_neither_calls_nor_scrapes(
    tmp_path: Path,
) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def slow() -> bool:
        asked.set()
        return may_answer.wait(60)

    slow_page = MetricsPage(
        PageAddress("127.0.0.1:0"), Metrics(METHODS, replace(SOURCES, has_worker=slow)).registry
    )
    page = MetricsPage(PageAddress("127.0.0.1:0"), Metrics(METHODS, SOURCES).registry)
    async with open_room(tmp_path) as room:
        scrape = asyncio.create_task(asyncio.to_thread(read_page, slow_page.url))
        await asyncio.to_thread(asked.wait)
        host, port = page.url.split("/")[2].split(":")
        with socket.create_connection((host, int(port))):
            stub = health_pb2_grpc.HealthStub(room.channel)
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
            assert isinstance(await asyncio.to_thread(read_page, page.url), Reading)
            assert not scrape.done()
        may_answer.set()
        assert (await scrape).one("longmemory_worker_alive") == 1
    for one in (page, slow_page):
        one.close()


def test_the_global_registry_holds_nothing_of_ours() -> None:
    Metrics(METHODS, SOURCES)
    assert not [one.name for one in REGISTRY.collect() if "longmemory" in one.name]


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_quantiles_lie_where_the_observations_are(share: float) -> None:
    metrics = Metrics(METHODS, SOURCES)
    for number in range(1, 101):
        metrics.began("crag", number / 100)
    page = MetricsPage(PageAddress("127.0.0.1:0"), metrics.registry)
    name = "longmemory_time_to_first_token_seconds"
    found = read_page(page.url)
    page.close()
    assert found.quantile(share, name, route="crag") == pytest.approx(share, abs=0.02)
    assert found.quantile(share, name) == pytest.approx(share, abs=0.02)
    assert found.quantile(share, name, route="none") is None


async def test_a_server_beyond_this_machine_has_no_reflection(tmp_path: Path) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    from service.rpc.server import ServerConfig, start

    async with open_room(tmp_path) as room:
        server = await start(ServerConfig("0.0.0.0:0", insecure=True), room.backend)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            with suppress(grpc.aio.AioRpcError):  # the refusal may be here before the request
                await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        await server.stop()
