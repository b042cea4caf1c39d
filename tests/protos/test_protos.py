"""The protos keep their conventions, and the committed code is what protoc makes of them."""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import field_behavior_pb2, field_info_pb2
from google.longrunning import operations_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
)

PROTOS = Path(__file__).resolve().parents[2] / "protos"
SOURCES = sorted((PROTOS / "longmemory" / "v1").glob("*.proto"))
MADE = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def files() -> list[FileDescriptor]:
    modules = [importlib.import_module(f"longmemory.v1.{source.stem}_pb2") for source in SOURCES]
    return [module.DESCRIPTOR for module in modules]


def messages() -> Iterator[Descriptor]:
    for file in files():
        yield from file.message_types_by_name.values()


def enums() -> Iterator[EnumDescriptor]:
    for file in files():
        yield from file.enum_types_by_name.values()
    for message in messages():
        yield from message.enum_types


def methods() -> Iterator[MethodDescriptor]:
    for file in files():
        for service in file.services_by_name.values():
            yield from service.methods


def is_required(field: FieldDescriptor) -> bool:
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.REQUIRED in behaviors


def test_the_committed_code_is_what_protoc_makes_of_the_protos(tmp_path: Path) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    includes = ["-I", str(PROTOS), "-I", str(PROTOS / "third_party")]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *outputs]
    subprocess.run([*command, *map(str, SOURCES)], check=True, timeout=120)
    fresh = {p.name: p.read_text() for p in (tmp_path / "longmemory" / "v1").iterdir()}
    kept = {p.name: p.read_text() for p in SOURCES[0].parent.iterdir() if p.name.endswith(MADE)}
    assert fresh.keys() == kept.keys()
    stale = sorted(name for name in fresh if fresh[name] != kept[name])
    assert not stale, "generate the code again, with the grpcio-tools that pyproject.toml names"


def test_buf_finds_nothing_to_say_about_the_protos() -> None:
    beside_python = Path(sys.executable).with_name("buf")
    buf = str(beside_python) if beside_python.exists() else shutil.which("buf")
    if buf is None:
        pytest.skip("buf is not installed; the dev extra brings it as buf-bin")
    done = subprocess.run([buf, "lint", str(PROTOS)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_operation_we_return_is_the_one_that_googleapis_installs() -> None:
    returned = {m.full_name: m.output_type for m in methods() if m.output_type.name == "Operation"}
    assert returned.keys() == {
        "longmemory.v1.CorpusService.IndexCorpus",
        "longmemory.v1.CartridgeService.TrainCartridge",
    }
    assert all(kind is operations_pb2.Operation.DESCRIPTOR for kind in returned.values())


def test_every_long_running_method_names_its_result_and_its_metadata() -> None:
    known = {message.name for message in messages()}
    for method in methods():
        if method.output_type.name == "Operation":
            info = method.GetOptions().Extensions[operations_pb2.operation_info]
            assert info.response_type in known, method.full_name
            assert info.metadata_type == "JobMetadata", method.full_name


def test_every_enum_starts_with_an_unspecified_zero() -> None:
    for enum in enums():
        first = enum.values[0]
        assert first.number == 0, enum.full_name
        assert first.name.endswith("_UNSPECIFIED"), enum.full_name


def test_every_request_requires_the_resource_that_it_is_about() -> None:
    for method in methods():
        for field in method.input_type.fields:
            if field.name in {"name", "parent", "corpus", "corpus_id", "document_id", "query"}:
                assert is_required(field), field.full_name


def test_every_request_id_is_said_to_be_a_uuid() -> None:
    requests = [m for m in messages() if m.name.endswith(("Request", "Header"))]
    keys = [field for m in requests for field in m.fields if field.name == "request_id"]
    assert keys
    for field in keys:
        info = field.GetOptions().Extensions[field_info_pb2.field_info]
        assert info.format == field_info_pb2.FieldInfo.UUID4, field.full_name


def test_every_list_comes_in_pages() -> None:
    lists = [method for method in methods() if method.name.startswith("List")]
    assert lists
    for method in lists:
        names = set(method.input_type.fields_by_name)
        assert {"page_size", "page_token"} <= names, method.name
        first, second = method.output_type.fields
        assert first.is_repeated, method.name
        assert second.name == "next_page_token", method.name
