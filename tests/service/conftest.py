"""What the service's tests share: a saved tiny model, and a server for those that leave it alive."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from process_room import Server, serving

from engine.model import LanguageModel


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
