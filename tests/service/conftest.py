"""What the service's tests share: a saved tiny model, and a server for those that leave it alive."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process_room import Server, serving
from redis_room import RedisServer, serving_redis

from engine.model import LanguageModel
from service.state.redis_store import RedisStore
from service.state.sqlite_store import SqliteStore
from service.state.store import Store


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, model: LanguageModel) -> Path:
    """The tiny Llama as anyone would save one."""
    folder = tmp_path_factory.mktemp("model")
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Server]:
    """The server of all tests that leave it alive."""
    with serving(tmp_path_factory.mktemp("shared") / "data", model_folder) as running:
        yield running


@pytest.fixture(scope="session")
def sources(handbook: str) -> dict[str, str]:
    """Two documents, together about a thousand tokens."""
    lines = handbook.splitlines()
    return {"duties/lamps.md": "\n".join(lines[:11]), "ferry.txt": "\n".join(lines[11:20])}


@pytest.fixture(scope="session")
def trained(server: Server, sources: dict[str, str]) -> str:
    """A corpus with an index and a cartridge on the shared server."""
    server.succeed(server.register("trained", sources))
    server.succeed(server.train("trained", 2))
    return "trained"


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The redis-server of all tests that leave it alive."""
    with serving_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def fresh_redis(shared_redis: RedisServer) -> RedisServer:
    """The same, emptied."""
    shared_redis.client.flushall()
    return shared_redis


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def lasting_state(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """What stands behind `--state`, once of each kind, for all tests of a module."""
    if request.param == "sqlite":
        yield ""
        return
    with serving_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running.url


@pytest.fixture(params=["sqlite", "redis"])
def open_state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens one and the same state again and again, as several processes would."""
    opened: list[Store] = []
    url = request.getfixturevalue("fresh_redis").url if request.param == "redis" else ""

    def open_one() -> Store:
        opened.append(RedisStore(url) if url else SqliteStore(tmp_path / "state.sqlite3"))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_state: Callable[[], Store]) -> Store:
    """An empty store, once of each kind."""
    return open_state()
