"""A server of one's own lives as long as its block, and its log goes to its file alone."""

import os
import shutil
from pathlib import Path

import pytest

from evaluation.server_process import running_server
from service.client.connection import Client, ClientError


@pytest.mark.process
@pytest.mark.wheel
def test_a_server_answers_however_much_it_has_logged(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "server.log"
    data.mkdir()
    if converted := os.environ.get("LONGMEMORY_DATA"):  # the model alone is shared
        shutil.copytree(Path(converted) / "models", data / "models")
    with running_server(data, log) as address, Client(address) as client:
        while log.stat().st_size < 100_000:  # more than any pipe holds
            for _ in range(100):
                client.list_corpora()
        assert client.info().model_name
    with Client(address) as client, pytest.raises(ClientError):
        client.list_corpora()
