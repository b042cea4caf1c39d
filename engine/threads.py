"""How many cores torch may use now."""

import torch


def use_threads(count: int) -> None:
    """Sets torch's intra-op threads; cheap where nothing changes."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
