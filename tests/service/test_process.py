"""The service as people run it: by the command line and by a generated client, on every route."""

import json
import threading
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2
from longmemory.v1 import cartridge_pb2, corpus_pb2, job_pb2, query_pb2
from process_room import (
    ASKED,
    PATIENCE,
    ROUTES,
    Server,
    serving,
    until,
)

pytestmark = pytest.mark.process


def test_a_corpus_goes_its_whole_way_by_the_command_line(
    server: Server, sources: dict[str, str], tmp_path: Path
) -> None:
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    added = server.json("corpus", "add", "by-hand", str(tmp_path))
    assert added["corpus"]["state"] == "ready"
    assert [entry["path"].rpartition("/")[2] for entry in added["skipped_files"]] == ["image.png"]
    assert "by-hand" in {corpus["id"] for corpus in server.json("corpus", "ls")}
    shown = server.json("corpus", "show", "by-hand")
    assert {one["id"] for one in shown["document_list"]} == set(sources)
    assert shown["dense"] == {"lists": 0, "probes": 0, "recall": 1.0}
    assert "searched exactly" in server.cli("corpus", "show", "by-hand").stdout

    training = ("--tokens", "16", "--steps", "2", "--conversations", "8", "--watch", "--json")
    lines = server.cli("cartridge", "train", "by-hand", *training).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["done"] for event in events] == [False] * (len(events) - 1) + [True]
    made = events[-1]["result"]
    short = f"by-hand/{made['id']}"
    (warmed,) = server.json("cartridge", "warm", short)
    listed = server.json("cartridge", "resident")["cartridges"]
    assert (warmed["part"], [one["name"] for one in listed]) == (0, [made["name"]])
    assert server.json("cartridge", "evict", short) == {"evicted": short}
    assert server.json("cartridge", "resident")["cartridges"] == []
    assert (made["state"], made["prefix_tokens"]) == ("ready", 16)
    assert short in server.cli("cartridge", "ls").stdout
    assert server.json("cartridge", "show", short)["tensor_digest"] == made["tensor_digest"]

    job = events[-1]["name"].rpartition("/")[2]
    assert job in {one["name"].rpartition("/")[2] for one in server.json("jobs", "ls")}
    assert "train succeeded" in server.cli("jobs", "watch", job).stdout
    folder = server.data / "cartridges" / "by-hand" / made["id"]
    assert folder.is_dir()
    server.cli("cartridge", "rm", short)
    assert not folder.exists()
    server.cli("corpus", "rm", "by-hand", "--yes")
    assert "by-hand" not in {corpus["id"] for corpus in server.json("corpus", "ls")}


@pytest.mark.parametrize("route", [*ROUTES, "auto"])
def test_every_route_answers_on_the_command_line(
    server: Server, trained: str, sources: dict[str, str], route: str
) -> None:
    ask = ("ask", trained, ASKED, "--route", route, "--max-tokens", "6")
    answer = server.json(*ask)
    assert list(answer)[:5] == ["answer", "route", "reason", "evidence", "usage"]
    assert answer["route"] == route or (route == "auto" and answer["route"] in ROUTES)
    assert answer["usage"]["output_tokens"] > 0
    for piece in answer["evidence"]:
        assert sources[piece["document"]][piece["start"] : piece["end"]] == piece["text"]
    assert bool(answer["evidence"]) == (answer["route"] in ("crag", "infini_retri"))
    explained = server.cli(*ask, "--explain").stdout
    assert answer["reason"] in explained
    assert (
        route == "auto" or answer["explanation"] in explained
    )  # auto's tells what it learned since
    assert "shut out" in explained
    assert "nearest_cosine" in explained


def test_a_corpus_goes_its_whole_way_by_a_generated_client(
    server: Server, sources: dict[str, str]
) -> None:
    indexing = server.register("by-wire", sources)
    events = server.jobs.WatchJob(job_pb2.WatchJobRequest(name=indexing.name))
    assert [event.operation.done for event in events][-1]
    corpus = corpus_pb2.Corpus()
    assert server.wait(indexing).response.Unpack(corpus)
    shown = server.corpus("by-wire")
    assert (shown.dense_search.lists, shown.dense_search.recall) == (0, 1.0)
    shown.ClearField("dense_search")  # looked up for who asks for the corpus itself
    assert corpus == shown
    assert corpus.state == corpus_pb2.Corpus.STATE_READY
    training = server.train("by-wire", 2)
    made = cartridge_pb2.Cartridge()
    assert server.wait(training).response.Unpack(made)
    assert made == server.cartridge("by-wire")
    assert made.state == cartridge_pb2.Cartridge.STATE_READY
    got = operations_pb2.GetOperationRequest(name=training.name)
    assert server.operations.GetOperation(got).done


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_streams_in_its_order_what_a_query_says_at_once(
    server: Server, trained: str, sources: dict[str, str], route: str
) -> None:
    query = server.query(trained, ROUTES[route])
    events = list(server.stream(query))
    kinds = [event.WhichOneof("event") for event in events]
    has_evidence = route in ("crag", "infini_retri")
    before = ["route", "evidence"] if has_evidence else ["route"]
    assert kinds[: len(before)] == before
    assert kinds[-1] == "summary"
    assert set(kinds[len(before) : -1]) <= {"delta"}
    assert events[0].route.route == ROUTES[route]
    for piece in events[1].evidence.evidence:
        assert sources[piece.document_id][piece.start_char : piece.end_char] == piece.text
    usage = events[-1].summary.usage
    length = server.cartridge(trained).prefix_tokens
    assert usage.prefix_tokens == (length if route == "cartridge" else 0)
    text = "".join(event.delta.text for event in events)
    whole = server.queries.Query(query)
    assert whole.answer == text
    assert whole.usage.output_tokens == usage.output_tokens > 0


def test_an_edit_costs_its_windows_and_the_same_text_nothing(server: Server, handbook: str) -> None:
    handbook = handbook.replace("Skerrivane", "Skerrivale")  # no other test has read its windows
    first = server.succeed(server.register("edited", {"book.md": handbook}))
    assert first.metrics["windows_read"] == first.metrics["windows"] > 2

    again = server.corpora.IndexCorpus(corpus_pb2.IndexCorpusRequest(name="corpora/edited"))
    server.upload("edited", {"book.md": handbook})
    repeated = server.corpora.IndexCorpus(corpus_pb2.IndexCorpusRequest(name="corpora/edited"))
    assert again.done
    assert repeated == again

    server.upload("edited", {"book.md": handbook + "\n\nThe last lamp is green.\n"})
    edit = server.corpora.IndexCorpus(corpus_pb2.IndexCorpusRequest(name="corpora/edited"))
    assert not edit.done
    metrics = server.succeed(edit).metrics
    assert 0 < metrics["windows_read"] < metrics["windows"]

    other = server.succeed(server.register("copied", {"other.md": handbook}))
    assert other.metrics["windows_read"] == 0 < other.metrics["windows"]


def test_a_cancelled_answer_ends_and_the_one_beside_it_is_whole(
    server: Server, trained: str
) -> None:
    kept = server.query(trained, query_pb2.ROUTE_CRAG, tokens=80)
    alone = server.queries.Query(kept).answer
    dropped = server.stream(server.query(trained, query_pb2.ROUTE_NONE, tokens=1000))
    while next(dropped).WhichOneof("event") != "delta":
        pass
    texts: list[str] = []

    def read() -> None:
        texts.append("".join(event.delta.text for event in server.stream(kept)))

    reader = threading.Thread(target=read)
    reader.start()
    next(dropped)
    dropped.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        list(dropped)
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    reader.join(PATIENCE)
    assert texts == [alone]


def test_a_text_that_is_not_registered_is_asked_by_the_command_line(
    server: Server, handbook: str, tmp_path: Path
) -> None:
    path = tmp_path / "book.md"
    path.write_text(handbook, encoding="utf-8")
    corpora = server.json("corpus", "ls")
    told = server.json("read", str(path), ASKED, "--max-tokens", "4")

    assert told["answer"]
    assert told["usage"]["output_tokens"] == 4
    assert told["evidence"]
    for piece in told["evidence"]:
        assert handbook[piece["start"] : piece["end"]] == piece["text"]
    assert server.json("corpus", "ls") == corpora


def test_needles_are_evaluated_by_the_command_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "hay").mkdir()
    (tmp_path / "hay" / "rain.txt").write_text("Rain fell on the pier all day. " * 300)
    out = tmp_path / "out"
    arguments = (
        "evaluate", "needle", "--lengths", "5kc", "--depths", "2", "--kinds", "fact,several",
        "--routes", "infini_retri,none", "--haystack", str(tmp_path / "hay"), "--out", str(out),
    )  # fmt: skip
    summary = server.json(*arguments)
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]

    assert len(rows) == 2 * 2 * 2
    assert {row["labels"]["depth"] for row in rows} == {0, 100}
    assert all((row["recall"] is None) == (row["route"] == "none") for row in rows)
    assert [route["count"] for route in summary["routes"]] == [4, 4]
    assert "<html" in (out / "report.html").read_text()
    assert json.loads((out / "summary.json").read_text())["routes"] == summary["routes"]
    assert (out / "heat_map_infini_retri_right.png").read_bytes()[:4] == b"\x89PNG"

    server.json(*arguments)
    assert len((out / "results.jsonl").read_text().splitlines()) == len(rows)


def test_a_corpus_gets_a_cartridge_by_itself_until_a_better_one_is_there(
    tmp_path: Path, model_folder: Path, sources: dict[str, str]
) -> None:
    with serving(tmp_path / "data", model_folder, instant_tokens=100_000) as server:
        server.succeed(server.register("books", sources))

        def first() -> bool:
            found = server.cartridges_of("books")
            return [(one.name.rpartition("/")[2], one.state) for one in found] == [
                ("instant", cartridge_pb2.Cartridge.STATE_READY)
            ]

        until(first, "the instant cartridge")
        query = server.query("books", query_pb2.ROUTE_CARTRIDGE)
        assert server.queries.Query(query).usage.prefix_tokens > 0
        server.succeed(server.train("books", 2))
        names = [one.name.rpartition("/")[2] for one in server.cartridges_of("books")]
        assert names == ["cart-one"]
        assert not (server.data / "cartridges" / "books" / "instant").exists()
