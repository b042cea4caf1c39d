"""Copies of files under a URL: whole or as good as not there, each tenant's apart, no secret told."""

import hashlib
import os
import time
import uuid
from pathlib import Path

import fsspec
import pytest

from engine.elsewhere import NOWHERE
from service.artifacts import StoredArtifacts
from service.errors import ServiceError
from service.queues import Queue
from service.state.artifact_store import ArtifactStore, open_artifacts
from service.state.content import ContentStore, examine
from service.state.sqlite_store import SqliteStore
from service.tenants import Tenants

TEXT = b"The lamp of the pier is tended by Wilhelmina."
NAME = "documents/ab/text"


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = tmp_path / "store" if request.param == "file" else f"/{uuid.uuid4().hex}"
    return f"{request.param}://{place}"


class Machine:
    """A data folder of its own, and the store that it shares."""

    def __init__(self, folder: Path, url: str) -> None:
        self.data = folder
        folder.mkdir()
        self.store = open_artifacts(url, folder)

    def write(self, name: str, data: bytes) -> Path:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


@pytest.fixture
def here(tmp_path: Path, url: str) -> Machine:
    return Machine(tmp_path / "here", url)


@pytest.fixture
def there(tmp_path: Path, url: str) -> Machine:
    return Machine(tmp_path / "there", url)


def copies(url: str) -> dict[str, bytes]:
    """What lies under a URL, by its name."""
    files, base = fsspec.core.url_to_fs(url)
    return {name.removeprefix(base).lstrip("/"): files.cat_file(name) for name in files.find(base)}


def alter(url: str, name: str, data: bytes) -> None:
    files, base = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{base}/{name}", data)


def test_what_one_machine_keeps_another_brings(here: Machine, there: Machine) -> None:
    here.store.keep(here.write(NAME, TEXT))
    assert there.store.bring(there.data / NAME)
    assert (there.data / NAME).read_bytes() == TEXT
    assert list(there.store.entries(there.data / "documents")) == ["ab/text"]
    there.store.remove(there.data / NAME)
    assert not here.store.bring(here.data / NAME)
    here.store.remove(here.data / NAME)  # nothing is there any more
    assert here.store.entries(here.data / "documents") == {}


@pytest.mark.parametrize(
    "harm",
    [
        lambda copy: b"",
        lambda copy: copy[:20],
        lambda copy: copy[:-1],
        lambda copy: copy + b"x",
        lambda copy: copy[:40] + bytes([copy[40] ^ 1]) + copy[41:],
        lambda copy: bytes([copy[0] ^ 1]) + copy[1:],
    ],
    ids=["empty", "cut in its digest", "cut off", "longer", "altered", "another digest"],
)
def test_a_copy_that_is_not_whole_is_as_good_as_not_there_and_can_be_mended(
    here: Machine, there: Machine, url: str, harm: object
) -> None:
    here.store.keep(here.write(NAME, TEXT))
    alter(url, NAME, harm(copies(url)[NAME]))  # type: ignore[operator]
    before = there.write(NAME, b"what was here before")
    assert not there.store.bring(there.data / NAME)
    assert before.read_bytes() == b"what was here before"
    assert [path.name for path in before.parent.iterdir()] == ["text"]
    there.store.keep(there.write(NAME, TEXT))
    assert here.store.bring(here.data / NAME)
    assert (here.data / NAME).read_bytes() == TEXT


def test_what_is_there_already_is_not_written_again(here: Machine, url: str) -> None:
    path = here.write(NAME, TEXT)
    here.store.keep(path)
    (first,) = here.store.entries(here.data / "documents").values()
    here.store.keep(path)
    assert list(here.store.entries(here.data / "documents").values()) == [first]
    here.store.keep(here.write(NAME, b"another text"))
    assert copies(url)[NAME][32:] == b"another text"


def test_a_copy_that_has_been_there_for_long_is_written_anew(
    here: Machine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here.write(NAME, TEXT)
    here.store.keep(path)
    (first,) = here.store.entries(here.data / "documents").values()
    monkeypatch.setattr("service.state.artifact_store._FRESH_SECONDS", -1.0)
    time.sleep(0.01)
    here.store.keep(path)
    assert next(iter(here.store.entries(here.data / "documents").values())) > first


def test_a_folder_goes_with_all_that_is_in_it_and_nothing_beside_it(here: Machine) -> None:
    for name in ("indexes/one/a.json", "indexes/one/b.json", "indexes/one-more/a.json"):
        here.store.keep(here.write(name, TEXT))
    here.store.remove(here.data / "indexes" / "one")
    assert list(here.store.entries(here.data / "indexes")) == ["one-more/a.json"]


def test_a_text_is_read_from_the_store_where_it_is_missing_or_damaged_here(
    here: Machine, there: Machine
) -> None:
    sha256 = hashlib.sha256(TEXT).hexdigest()
    content = ContentStore(here.data, here.store)
    path = here.write("incoming", TEXT)
    content.keep(path, sha256)
    content.put_file(path, examine(path))
    other = ContentStore(there.data, there.store)
    assert other.read_text(sha256) == TEXT.decode()
    other.path(sha256).write_bytes(b"damaged")
    assert other.read_text(sha256) == TEXT.decode()
    here.store.remove(content.path(sha256))
    other.path(sha256).unlink()
    with pytest.raises(ServiceError, match="missing") as caught:
        other.read_text(sha256)
    assert caught.value.reason == "DOCUMENT_DAMAGED"


def test_texts_that_nobody_names_go_from_the_store_too_once_they_are_old(here: Machine) -> None:
    content, names = ContentStore(here.data, here.store), []
    for text in (b"kept", b"gone"):
        names.append(hashlib.sha256(text).hexdigest())
        path = here.write("incoming", text)
        content.keep(path, names[-1])
        content.put_file(path)
    content.delete_unreferenced({names[0]})
    assert len(here.store.entries(here.data / "documents")) == 2
    content.delete_unreferenced({names[0]}, grace_seconds=-5)
    assert [Path(n).name for n in here.store.entries(here.data / "documents")] == names[:1]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/files",
        "simplecache::s3://bucket/place",
        "filecache::file:///tmp/x",
        "bucket/place",
        "sftp://me:secret@host/place",
        "s3://bucket/place?key=secret",
        "nosuch://place",
    ],
)
def test_what_is_no_store_is_refused_and_no_secret_is_told(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="store: ") as caught:
        open_artifacts(url, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_driver_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gcsfs"):
        open_artifacts("gs://bucket/place", tmp_path)


def test_no_url_is_no_store(tmp_path: Path) -> None:
    assert open_artifacts("", tmp_path) is NOWHERE


class Away(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A store that answers nothing but its error."""

    cachable = False

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.asked = error, 0

    def _open(self, *given: object, **named: object) -> object:
        self.asked += 1
        raise self.error

    def find(self, *given: object, **named: object) -> object:
        raise self.error

    rm = find


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("key AKIA"), "STORE_UNAVAILABLE"),
        (RuntimeError("key AKIA"), "STORE_UNAVAILABLE"),
        (PermissionError("key AKIA"), "STORE_REFUSED"),
    ],
)
def test_a_store_that_is_away_is_told_without_its_secrets(
    error: Exception, reason: str, tmp_path: Path
) -> None:
    store = ArtifactStore(Away(error), "place", tmp_path, "s3://bucket/place")
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    for act in (store.keep, store.bring, store.entries, store.remove):
        with pytest.raises(ServiceError, match="s3://bucket/place") as caught:
            act(path)
        assert caught.value.reason == reason
        assert "AKIA" not in caught.value.message


def test_a_store_that_did_not_answer_is_not_waited_for_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Away(TimeoutError())
    store = ArtifactStore(files, "place", tmp_path, "s3://bucket/place")
    for _ in range(5):
        with pytest.raises(ServiceError) as caught:
            store.bring(tmp_path / "file")
    assert files.asked == 1
    assert caught.value.retry_after_seconds
    monkeypatch.setattr("service.state.artifact_store._AWAY_SECONDS", 0.0)
    store = ArtifactStore(files, "place", tmp_path, "s3://bucket/place")
    for _ in range(5):
        with pytest.raises(ServiceError):
            store.bring(tmp_path / "file")
    assert files.asked == 6


def test_what_was_brought_of_corpora_that_are_gone_is_swept_here(
    here: Machine, tmp_path: Path
) -> None:
    store = SqliteStore(tmp_path / "records")
    queue = Queue.of(Tenants(store, here.data, here.store).of("default"))
    queue.corpora.create("books")
    for name in ("indexes/books/a.json", "indexes/gone/a.json", "cartridges/gone/one/x.1/part"):
        here.write(name, b"{}")
    StoredArtifacts.of(queue).sweep()
    left = sorted(path.relative_to(here.data).as_posix() for path in here.data.rglob("*.json"))
    assert left == ["indexes/books/a.json"]
    assert not (here.data / "cartridges" / "gone").exists()
    store.close()


def test_a_sweep_beside_a_store_that_is_away_removes_nothing_and_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    away = ArtifactStore(Away(ConnectionError()), "place", data, "s3://bucket/place")
    store = SqliteStore(tmp_path / "records")
    queue = Queue.of(Tenants(store, data, away).of("default"))
    text = data / "documents" / "ab" / hashlib.sha256(TEXT).hexdigest()
    text.parent.mkdir(parents=True)
    text.write_bytes(TEXT)
    os.utime(text, (0, 0))
    StoredArtifacts.of(queue).sweep()
    assert text.exists()
    store.close()
