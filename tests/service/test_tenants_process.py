"""Tenants of a server process with its worker, over a restart, in a data folder that was filled before
there were any; and workers of their own for all of them.
"""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from process_room import COMMAND, ENVIRONMENT, PATIENCE, Server, serving, until, working
from redis_room import serving_redis

from service.client.connection import Client, Credentials, SourceDocument

pytestmark = [pytest.mark.process, pytest.mark.long]

TEXTS = {
    "default": "The lamp of the pier is tended by Wilhelmina.",
    "north": "The lamp of the tower is tended by Bartholomew.",
    "south": "The lamp of the wreck is tended by Clementine.",
}


def token(data: Path, tenant: str) -> str:
    """What `longmemory token add` prints."""
    flags = ("token", "add", "--role", "admin", "--tenant", tenant, "--data", str(data))
    done = subprocess.run(
        [*COMMAND, *flags],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def client(server: Server, secret: str) -> Client:
    return Client(server.address, Credentials(secret))


def begin(caller: Client, text: str) -> str:
    """A corpus of one document, and the job that indexes it."""
    caller.create_corpus("books")
    caller.upload("books", [SourceDocument("a.txt", text.encode())])
    return caller.index("books")


def evidence(server: Server, secret: str) -> list[str]:
    with client(server, secret) as caller:
        answer = caller.ask("books", "Who tends the lamp?", "crag", max_output_tokens=3)
        return [one.text for one in answer.evidence]


def test_tenants_have_one_name_and_their_own_texts_also_after_a_restart(
    tmp_path: Path, model_folder: Path
) -> None:
    data, secrets = tmp_path / "data", {}
    with serving(data, model_folder) as server:
        server.succeed(server.register("books", {"a.txt": TEXTS["default"]}))  # nobody has a token
        for name, text in TEXTS.items():
            secrets[name] = token(data, name)
            if name != "default":
                with client(server, secrets[name]) as caller:
                    caller.wait(begin(caller, text))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    with serving(data, model_folder, name="again") as server:
        for name, text in TEXTS.items():
            assert evidence(server, secrets[name]) == [text]
        with client(server, secrets["north"]) as caller:
            caller.delete_corpus("books")
            assert caller.list_corpora() == []
        assert evidence(server, secrets["south"]) == [TEXTS["south"]]
    stored = json.loads((data / "tokens.json").read_text())["tokens"]
    assert {one["tenant"] for one in stored} == set(TEXTS)
    assert not [one for one in secrets.values() if one in (data / "tokens.json").read_text()]


def test_workers_of_one_job_each_do_the_jobs_of_all_tenants(
    tmp_path: Path, model_folder: Path
) -> None:
    data = tmp_path / "data"
    with (
        serving_redis(tmp_path / "redis") as redis,
        serving(data, model_folder, state=redis.url) as server,
    ):
        for name in ("north", "south"):
            with client(server, token(data, name)) as caller:
                begin(caller, TEXTS[name])
        for number in range(2):
            with working(data, model_folder, redis.url, f"once{number}", "--once") as worker:
                assert worker.process.wait(PATIENCE) == 0
                assert worker.log.count("job started") == 1
        for name in ("north", "south"):
            found = list((data / "tenants" / name / "indexes" / "books").glob("*.json"))
            assert len(found) == 1
        until(lambda: not server.leftovers(), "the removal of the work folders")
