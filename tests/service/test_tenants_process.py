"""Tenants of a server process with its worker, by the command line, over a restart; and of a data folder
that was filled before there were any.
"""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from process_room import COMMAND, ENVIRONMENT, PATIENCE, Server, serving, until, working
from redis_room import serving_redis

pytestmark = [pytest.mark.process, pytest.mark.long]

TEXTS = {
    "default": "The lamp of the pier is tended by Wilhelmina.",
    "north": "The lamp of the tower is tended by Bartholomew.",
    "south": "The lamp of the wreck is tended by Clementine.",
}


def command(*arguments: str | Path, status: int = 0) -> str:
    """What a command says, on both of its streams."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def token(data: Path, tenant: str) -> str:
    made = command("token", "add", "--role", "admin", "--tenant", tenant, "--data", data, "--json")
    secret: str = json.loads(made)["token"]
    return secret


def asked(server: Server, secret: str, question: str = "Who tends the lamp?") -> dict[str, Any]:
    said = command(
        "--token", secret, "ask", "books", question, "--route", "crag", "--max-tokens", "4",
        "--json", "--server", server.address,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(said)
    return found


def filled(server: Server, secret: str, file: Path) -> None:
    command("--token", secret, "corpus", "add", "books", file, "--server", server.address)


def test_tenants_have_one_name_and_their_own_texts_also_after_a_restart(
    tmp_path: Path, model_folder: Path
) -> None:
    data, secrets = tmp_path / "data", {}
    with serving(data, model_folder) as server:
        server.succeed(server.register("books", {"a.txt": TEXTS["default"]}))  # nobody has a token
        for name in TEXTS:
            secrets[name] = token(data, name)
        for name in ("north", "south"):
            file = tmp_path / name / "a.txt"
            file.parent.mkdir()
            file.write_text(TEXTS[name])
            filled(server, secrets[name], file)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    with serving(data, model_folder, name="again") as server:
        for name, text in TEXTS.items():
            told = [one["text"] for one in asked(server, secrets[name])["evidence"]]
            assert told == [text]
        gone = command(
            "--token", secrets["north"], "corpus", "rm", "books", "--yes", "--server",
            server.address,
        )  # fmt: skip
        assert "books" in gone
        assert asked(server, secrets["south"])["evidence"]
    listed = command("token", "list", "--data", data, "--json")
    assert [one["tenant"] for one in json.loads(listed)] == list(TEXTS)


def test_workers_beside_the_servers_do_the_jobs_of_all_tenants(
    tmp_path: Path, model_folder: Path
) -> None:
    data = tmp_path / "data"
    with (
        serving_redis(tmp_path / "redis") as redis,
        serving(data, model_folder, state=redis.url) as server,
    ):
        file = tmp_path / "a.txt"
        for name in ("north", "south"):
            secret = token(data, name)
            file.write_text(TEXTS[name])
            command(
                "--token", secret, "corpus", "add", "books", file, "--no-wait",
                "--server", server.address,
            )  # fmt: skip
        for number in range(2):
            with working(data, model_folder, redis.url, f"once{number}", "--once") as worker:
                assert worker.process.wait(PATIENCE) == 0
                assert worker.log.count("job started") == 1
        for name in ("north", "south"):
            found = list((data / "tenants" / name / "indexes" / "books").glob("*.json"))
            assert len(found) == 1
        until(lambda: not server.leftovers(), "the removal of the work folders")
