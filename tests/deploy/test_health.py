"""The health check of the image against real servers, one of them behind TLS."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from deploy_room import DEPLOY
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

QUERY = "longmemory.v1.QueryService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def checked(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(DEPLOY / "health.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """Starts a server whose process serves and whose questions do not; tells its address."""
    servers = []

    def run(credentials: Any = None) -> str:
        server = grpc.server(ThreadPoolExecutor(max_workers=2))
        status = health.HealthServicer()
        status.set("", SERVING)
        status.set(QUERY, NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        address = "127.0.0.1:0"
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield run
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def certificate(program: Callable[..., Any], tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for longmemory.longmemory.svc that signs itself, and its key."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    name = "longmemory.longmemory.svc"
    done = program(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
        "-keyout", key, "-out", certificate,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return certificate, key


def test_a_server_that_serves_is_healthy(start: Callable[..., str]) -> None:
    assert checked("--server", start()).returncode == 0


def test_a_service_that_does_not_serve_is_told_apart(start: Callable[..., str]) -> None:
    done = checked(QUERY, "--server", start())
    assert (done.returncode, done.stderr.strip()) == (1, "NOT_SERVING")


def test_a_server_that_is_away_is_not_healthy() -> None:
    done = checked("--server", "127.0.0.1:1", "--timeout", "2")
    assert done.returncode == 1
    assert done.stderr.startswith(("UNAVAILABLE", "DEADLINE_EXCEEDED"))


def test_behind_tls_the_certificate_must_name_the_service(
    start: Callable[..., str], certificate: tuple[Path, Path]
) -> None:
    file, key = certificate
    address = start(grpc.ssl_server_credentials([(key.read_bytes(), file.read_bytes())]))
    asked = ("--server", address, "--ca", str(file), "--timeout", "2")
    assert checked(*asked, "--name", "longmemory.longmemory.svc").returncode == 0
    assert checked(*asked, "--name", "another.longmemory.svc").returncode == 1
    assert checked("--server", address, "--timeout", "2").returncode == 1
