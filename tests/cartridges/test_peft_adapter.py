"""The same prefix in PEFT and here gives the same logits, in both directions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lesson_room import make_lessons, matched
from safetensors.torch import load_file, save_file

from cartridges.manifest import CartridgeError
from cartridges.match import MatchSettings
from cartridges.peft_adapter import CONFIG, TENSORS, export_adapter, import_adapter
from cartridges.store import BuiltPart
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.scoring import Turn, answer_logits

# PEFT asks transformers by a name that it will lose.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
QUESTION, ANSWER = (5, 9, 30, 77), (41, 8, 120)


def prefix_of(model: LanguageModel) -> KVPrefix:
    """24 rows for a longer text."""
    turns = [lesson.turn for lesson in make_lessons(model)]
    return matched(model, turns, 24, MatchSettings())


def logits_of_peft(network: Any) -> torch.Tensor:
    """What PEFT's model predicts of the answer's tokens."""
    ids = torch.tensor([[*QUESTION, *ANSWER]])
    with torch.inference_mode():
        logits: torch.Tensor = network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits[0, len(QUESTION) - 1 : -1].float()


def ours(model: LanguageModel, prefix: KVPrefix) -> torch.Tensor:
    with torch.inference_mode():
        return answer_logits(model, [Turn(QUESTION, ANSWER)], prefix)


def test_an_exported_cartridge_answers_in_peft_as_here(
    tmp_path: Path, family_model: LanguageModel
) -> None:
    from peft import PeftModel

    prefix = prefix_of(family_model)
    assert prefix.query_offset > prefix.length
    export_adapter(tmp_path, family_model, BuiltPart(prefix, frozen=1))
    theirs = PeftModel.from_pretrained(family_model.network, str(tmp_path))

    torch.testing.assert_close(
        logits_of_peft(theirs), ours(family_model, prefix), atol=2e-3, rtol=2e-3
    )
    assert theirs.prompt_encoder["default"].num_frozen_tokens == 1


def test_an_adapter_that_peft_made_answers_here_as_there(
    tmp_path: Path, family_model: LanguageModel
) -> None:
    from peft import CartridgeConfig, get_peft_model

    config = CartridgeConfig(task_type="CAUSAL_LM", num_virtual_tokens=6, num_frozen_tokens=2)
    theirs = get_peft_model(family_model.network, config)
    theirs.save_pretrained(str(tmp_path))
    part = import_adapter(tmp_path, family_model)

    assert (part.prefix.length, part.prefix.query_offset, part.frozen) == (6, 6, 2)
    torch.testing.assert_close(
        ours(family_model, part.prefix), logits_of_peft(theirs), atol=1e-3, rtol=1e-3
    )


def test_a_cartridge_that_goes_out_and_in_is_the_same_where_it_was_put(
    tmp_path: Path, model: LanguageModel
) -> None:
    prefix = prefix_of(model)
    behind = KVPrefix(prefix.keys, prefix.values, prefix.length)
    export_adapter(tmp_path, model, BuiltPart(behind, frozen=3))
    part = import_adapter(tmp_path, model)
    assert torch.equal(part.prefix.keys, prefix.keys)
    assert torch.equal(part.prefix.values, prefix.values)
    assert part.frozen == 3


def broken(folder: Path, **config: Any) -> None:
    fields = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(fields | config))


def test_what_is_no_adapter_of_this_model_is_refused_with_its_reason(
    tmp_path: Path, model: LanguageModel
) -> None:
    def reason() -> str:
        with pytest.raises(CartridgeError) as caught:
            import_adapter(tmp_path, model)
        return caught.value.reason

    assert reason() == "CARTRIDGE_MISSING"
    export_adapter(tmp_path, model, BuiltPart(prefix_of(model)))
    import_adapter(tmp_path, model)
    rows = load_file(tmp_path / TENSORS)["prompt_embeddings"]
    broken(tmp_path, peft_type="LORA")
    assert reason() == "CARTRIDGE_FORMAT"
    broken(tmp_path, peft_type="CARTRIDGE", num_frozen_tokens=25)
    assert reason() == "CARTRIDGE_DAMAGED"
    broken(tmp_path, num_frozen_tokens=0, num_virtual_tokens=23)
    assert reason() == "CARTRIDGE_MODEL_MISMATCH"
    broken(tmp_path, num_virtual_tokens=24)
    save_file({"prompt_embeddings": rows * float("nan")}, tmp_path / TENSORS)
    assert reason() == "CARTRIDGE_DAMAGED"
    save_file({"prompt_embeddings": rows[:, :-1].contiguous()}, tmp_path / TENSORS)
    assert reason() == "CARTRIDGE_MODEL_MISMATCH"
    save_file({"other": rows}, tmp_path / TENSORS)
    assert reason() == "CARTRIDGE_DAMAGED"
    (tmp_path / TENSORS).unlink()
    assert reason() == "CARTRIDGE_DAMAGED"
    (tmp_path / CONFIG).write_text("{")
    assert reason() == "CARTRIDGE_DAMAGED"
