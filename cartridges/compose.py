"""Several cartridges before one question.

Each prefix was made as if its text stood alone at the beginning. Set one behind the other as they are,
their rows claim the same positions and each brings an attention sink of its own; moving every one to a
place of its own and keeping the first sink alone repairs half of the damage (arXiv 2608.30647).
"""

from collections.abc import Sequence

import torch

from engine.errors import PrefixMismatchError
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.rotation import move_prefix

SINK = 4  # rows at the beginning of every context: the template's opening, with the attention sink


def compose(model: LanguageModel, prefixes: Sequence[KVPrefix]) -> KVPrefix:
    """One prefix of several in the order given: the texts behind one another, the question last.

    Raises:
        PrefixMismatchError: there are none, or their texts together do not fit the model's window.
        ModelUnsupportedError: the model's keys cannot be moved.
    """
    if not prefixes:
        raise PrefixMismatchError("no prefix was given to compose")
    total = sum(prefix.query_offset for prefix in prefixes) - SINK * (len(prefixes) - 1)
    if total >= model.geometry.window:
        raise PrefixMismatchError(
            f"the texts together have {total} tokens and the model's window {model.geometry.window}; "
            "compose fewer"
        )
    keys, values, place = [], [], 0
    for number, prefix in enumerate(prefixes):
        dropped = SINK if number else 0
        place += prefix.query_offset - dropped
        moved = move_prefix(model, prefix, place)
        keys.append(moved.keys[:, :, dropped:])
        values.append(moved.values[:, :, dropped:])
    return KVPrefix(torch.cat(keys, dim=2), torch.cat(values, dim=2), total)
