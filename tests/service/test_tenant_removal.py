"""A tenant that is removed leaves nothing, and takes nothing of another's along."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.config import Layout
from service.errors import ServiceError
from service.queues import Queue
from service.state import tables
from service.state.content import examine
from service.state.data_folder import lock_data_folder
from service.state.job import JobKind
from service.state.sqlite_store import SqliteStore
from service.state.store import Store
from service.state.table import Table
from service.tenants import Belongings, Tenants
from service.tokens import Role, TokenFile

TEXT = "The lamp of the pier is tended by Wilhelmina."


def fill(tenants: Tenants, name: str) -> Queue:
    """A corpus of one document, a cartridge that is being made, and no job."""
    tenant = tenants.enrol(name)
    queue = Queue.of(tenant)
    path = tenant.layout.data / "incoming"
    path.write_text(TEXT)
    queue.corpora.create("books")
    queue.corpora.add_document("books", "a.txt", examine(path))
    queue.corpora._content.put_file(path)
    queue.shelf.create(
        "books", "c-one", prefix_tokens=8, query_offset=9, model_fingerprint="m", corpus_digest="d"
    )
    return queue


def records(store: Store) -> int:
    found = [value for value in vars(tables).values() if isinstance(value, Table)]
    indexes = [f"{table.name}.{index}" for table in found for index in table.indexes]
    names = [*(table.name for table in found), *indexes]
    return sum(len(store.range(name)) for name in names)


@pytest.fixture
def tenants(store: Store, tmp_path: Path) -> Tenants:
    made = Tenants(store, tmp_path)
    for name in ("one", "two"):
        fill(made, name)
    return made


def test_records_and_files_are_gone_and_the_others_are_as_they_were(
    tenants: Tenants, tmp_path: Path
) -> None:
    queue = fill(tenants, "three")
    job = queue.jobs.enqueue(JobKind.INDEX, "books", "corpora/books", {})
    queue.jobs.cancel(job.id)
    others = [records(tenants.of(name).store) for name in ("one", "two")]
    assert records(tenants.of("three").store) > others[0]
    assert tenants.removable("three") == Belongings("three", 1, len(TEXT), 1)

    tenants.remove("three")

    assert records(tenants.of("three").store) == 0
    assert not (tmp_path / "tenants" / "three").exists()
    assert [records(tenants.of(name).store) for name in ("one", "two")] == others
    assert Queue.of(tenants.of("one")).corpora.read_document("books", "a.txt") == TEXT
    fill(tenants, "three")  # the name may be used again
    assert tenants.belongings("three").corpora == 1


def test_a_tenant_with_a_job_is_refused_and_keeps_all(tenants: Tenants) -> None:
    queue = Queue.of(tenants.of("one"))
    job = queue.jobs.enqueue(JobKind.INDEX, "books", "corpora/books", {})
    before = records(tenants.of("one").store)
    for _ in ("waiting", "running"):
        with pytest.raises(ServiceError, match=job.id) as caught:
            tenants.remove("one")
        assert caught.value.reason == "JOB_NOT_FINISHED"
        assert records(tenants.of("one").store) >= before
        queue.jobs.claim("worker-1")
    assert queue.corpora.read_document("books", "a.txt") == TEXT


def test_what_a_kill_cut_off_is_done_by_another_call(
    tenants: Tenants, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("service.tenants.delete_tree", killed)
        with pytest.raises(KeyboardInterrupt):
            tenants.remove("one")
    assert (tmp_path / "tenants" / "one").exists()
    tenants.remove("one")
    assert not (tmp_path / "tenants" / "one").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("default", "INVALID_VALUE"), ("nobody", "TENANT_NOT_FOUND"), ("../one", "MALFORMED_ID")],
)
def test_what_is_no_tenant_to_be_removed_is_named(tenants: Tenants, name: str, reason: str) -> None:
    with pytest.raises(ServiceError) as caught:
        tenants.remove(name)
    assert caught.value.reason == reason


def test_the_command_revokes_the_tokens_and_tells_what_there_was(tmp_path: Path) -> None:
    store = SqliteStore(Layout(tmp_path).database)
    for name in ("one", "two"):
        fill(Tenants(store, tmp_path), name)
    store.close()
    tokens = TokenFile(tmp_path)
    for name in ("one", "one", "two"):
        tokens.add(name, Role.READ)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["tenant", *arguments, "--data", str(tmp_path)])
        assert done.exit_code == 0, done.output
        return done.stdout

    listed = json.loads(run("ls", "--json"))
    assert [(one["tenant"], one["tokens"], one["corpora"]) for one in listed] == [
        ("default", 0, 0), ("one", 2, 1), ("two", 1, 1),
    ]  # fmt: skip
    told = json.loads(run("remove", "one", "--json"))
    assert (told["tokens"], told["corpora"], told["cartridges"]) == (2, 1, 1)
    assert [token.tenant for token in tokens.list()] == ["two"]
    assert not (tmp_path / "tenants" / "one").exists()
    assert "two" in run("ls")


def test_a_folder_that_is_served_is_left_alone(tmp_path: Path) -> None:
    with lock_data_folder(tmp_path):
        given = ["tenant", "remove", "one", "--yes", "--data", str(tmp_path)]
        done = CliRunner().invoke(app, given)
    assert done.exit_code == 1
    assert "DATA_FOLDER_LOCKED" in done.output
