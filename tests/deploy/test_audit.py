"""Known holes of pinned packages are told by pip-audit; a service that is away holds nobody up."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from deploy_room import DEPLOY, ROOT

pytest.importorskip("pip_audit", reason="comes with deploy/requirements.lock; run make setup")
LOCKS = [*sorted(DEPLOY.glob("*.lock")), ROOT / "engine" / "wheels.lock"]
Holes = dict[tuple[str, str], str]
PROBED: Holes = {("requests", "2.19.0"): "CVE-2018-18074"}


def hole(name: str, identity: str) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": "99.0"}]
    ranges = [{"type": "ECOSYSTEM", "events": events}]
    package = {"name": name, "ecosystem": "PyPI"}
    affected = [{"package": package, "ranges": ranges}]
    told = {"summary": "a hole", "details": "a hole", "aliases": [f"X-{identity}"]}
    return {"id": identity, "affected": affected, **told}


@contextmanager
def service(holes: Holes) -> Iterator[tuple[str, list[str]]]:
    """OSV's protocol on loopback, and the names that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))
            name = query["package"]["name"]
            asked.append(name)
            identity = holes.get((name, query["version"]))
            body = json.dumps({"vulns": [hole(name, identity)]} if identity else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Audit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def audit() -> Audit:
    def run(url: str, *locks: Path) -> "subprocess.CompletedProcess[str]":
        command = [
            sys.executable,
            DEPLOY / "audit.py",
            *locks,
            "--service",
            "osv",
            "--osv-url",
            url,
        ]
        return subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, check=False
        )

    return run


def test_every_locked_package_is_looked_up(audit: Audit) -> None:
    with service(PROBED) as (url, asked):
        done = audit(url, *LOCKS)
    assert done.returncode == 0, done.stdout + done.stderr
    locked = {
        line.split("==")[0]
        for path in LOCKS
        for line in path.read_text(encoding="utf-8").splitlines()
        if "==" in line and ";" not in line and not line.startswith("#")
    }
    assert len(locked) > 100
    assert locked <= set(asked)
    assert re.fullmatch(r"audit: \d+ packages, 0 holes\n", done.stdout)


def test_a_hole_fails_and_is_told_with_its_mend(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "own.lock").write_text("six==1.16.0 --hash=sha256:" + "0" * 64 + "\n")
    with service(PROBED | {("six", "1.16.0"): "CVE-1"}) as (url, _):
        done = audit(url, tmp_path / "own.lock")
    assert done.returncode == 1
    assert "six 1.16.0: CVE-1, X-CVE-1; mended in: 99.0" in done.stdout


def test_a_service_that_is_away_is_told_in_a_line_and_passes(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "own.lock").write_text("six==1.16.0\n")
    done = audit("http://127.0.0.1:9/v1/query", tmp_path / "own.lock")
    assert done.returncode == 0, done.stdout
    assert done.stdout == (
        "audit: no vulnerability service can be reached; nothing was looked up\n"
    )


def test_a_service_that_knows_of_no_hole_at_all_is_none(audit: Audit, tmp_path: Path) -> None:
    """As a mirror of packages is, which knows none of them."""
    (tmp_path / "own.lock").write_text("six==1.16.0\n")
    with service({}) as (url, _):
        done = audit(url, tmp_path / "own.lock")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert "nothing was looked up" in done.stdout


def test_a_lock_that_cannot_be_read_fails(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "own.lock").write_text("six=1.16.0\n")
    with service(PROBED) as (url, _):
        done = audit(url, tmp_path / "own.lock")
    assert done.returncode == 1
    assert "pip-audit failed" in done.stdout
