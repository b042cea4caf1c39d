"""Cartridges as folders on the command line: shown, checked, taken to PEFT and back."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cartridges.conversations import Conversation, Studied
from cartridges.store import BuiltPart, load_cartridge, store_cartridge
from engine.config import EngineConfig
from engine.model import LanguageModel
from engine.prompts import Prompter
from service.cli.main import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["cartridge", *map(str, arguments)])


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, model: LanguageModel) -> Path:
    """The tiny model as files, for commands that load one by name."""
    folder = tmp_path_factory.mktemp("model")
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def cartridge(tmp_path: Path, model_folder: Path) -> Path:
    loaded = LanguageModel.load(EngineConfig(tmp_path, str(model_folder), threads=1))
    context = loaded.prefill(Prompter(loaded).context_ids(["The lamp flashes three times."]))
    parts = [BuiltPart(context.head(12), ("w1",), 1, {"recovered": 0.5}), BuiltPart(context)]
    store_cartridge(
        tmp_path / "c1", loaded, parts, "abc", {"study": {"seed": 3}}, {"recovered": 0.75}
    )
    return tmp_path / "c1"


def test_a_cartridge_is_shown_without_its_model(cartridge: Path) -> None:
    shown = run("inspect", cartridge)
    assert shown.exit_code == 0
    for word in ("recipe.study.seed", "measured.recovered", "part-000", "part-001", "rope_theta"):
        assert word in shown.stdout
    assert shown.stdout.count("whole") == 2

    printed = json.loads(run("inspect", cartridge / "manifest.json", "--json").stdout)
    assert printed["parts"][0]["windows"] == ["w1"]
    assert printed["problems"] == {}


def test_a_damaged_part_is_named_and_the_other_is_whole(cartridge: Path) -> None:
    path = cartridge / "part-001.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    shown = run("inspect", cartridge)
    assert shown.exit_code == 1
    assert (shown.stdout.count("damaged"), shown.stdout.count("whole")) == (1, 1)
    assert "part-001.safetensors does not match its digest" in shown.stderr
    assert list(json.loads(run("inspect", cartridge, "--json").stdout)["problems"]) == [path.name]


def test_conversations_that_were_touched_are_damage_too(
    tmp_path: Path, cartridge: Path, model_folder: Path
) -> None:
    loaded = LanguageModel.load(EngineConfig(tmp_path, str(model_folder), threads=1))
    prefix = load_cartridge(cartridge, loaded).prefix
    studied = (Studied(Conversation(0, "Who?", "He."), "He flashes it.", True),)
    store_cartridge(cartridge, loaded, [BuiltPart(prefix, studied=studied)], "", {}, {})
    assert run("inspect", cartridge).exit_code == 0
    (cartridge / "part-000.jsonl").write_text("")
    assert "part-000.jsonl does not match" in run("inspect", cartridge).stderr


def test_what_is_no_cartridge_is_refused_with_its_reason(tmp_path: Path) -> None:
    shown = run("inspect", tmp_path)
    assert shown.exit_code == 1
    assert "CARTRIDGE_MISSING" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_cartridge_goes_to_peft_and_back(
    tmp_path: Path, cartridge: Path, model_folder: Path
) -> None:
    named = ("--model", model_folder, "--data", tmp_path)
    out = run("export", cartridge, tmp_path / "adapter", *named)
    assert out.exit_code == 0, out.stderr
    back = run("import", tmp_path / "adapter", tmp_path / "c2", *named)
    assert back.exit_code == 0, back.stderr

    onto = run("import", tmp_path / "adapter", tmp_path / "adapter", *named)
    assert onto.exit_code == 1
    assert "CARTRIDGE_PLACE_TAKEN" in onto.stderr
    assert run("import", tmp_path / "adapter", tmp_path / "c3", *named).exit_code == 0

    loaded = LanguageModel.load(EngineConfig(tmp_path, str(model_folder), threads=1))
    prefix = load_cartridge(tmp_path / "c2", loaded).prefix
    assert (prefix.length, prefix.query_offset) == (12, 12)
    assert load_cartridge(tmp_path / "c2", loaded).manifest.parts[0].frozen == 1


def test_a_part_that_is_not_there_is_refused(
    tmp_path: Path, cartridge: Path, model_folder: Path
) -> None:
    out = run(
        "export", cartridge, tmp_path / "adapter", "--part", 2, "--model", model_folder,
        "--data", tmp_path,
    )  # fmt: skip
    assert out.exit_code == 1
    assert "has 2 parts" in out.stderr
    assert not (tmp_path / "adapter").exists()


def test_a_folder_with_a_link_in_it_is_neither_shown_nor_imported(
    cartridge: Path, model_folder: Path, tmp_path: Path
) -> None:
    export = run("export", cartridge, tmp_path / "adapter", "--model", model_folder)
    assert export.exit_code == 0
    for path in (cartridge / "manifest.json", tmp_path / "adapter" / "adapter_model.safetensors"):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    shown = run("inspect", cartridge)
    taken = run("import", tmp_path / "adapter", tmp_path / "c-2", "--model", model_folder)
    for told in (shown, taken):
        assert told.exit_code == 1
        assert "is a link" in told.stderr
        assert "FILE_NOT_PLAIN" in told.stderr
    assert not (tmp_path / "c-2").exists()
