"""The README names what is there."""

from pathlib import Path

import pytest

from service.errors import REASONS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = ("engine", "cartridges", "retrieval", "service", "evaluation")


@pytest.mark.parametrize("room", ROOMS)
def test_the_tree_names_every_file_of_a_room(room: str) -> None:
    tree = README[README.index("## The tree") : README.index("## Limits")]
    listed = {line.split()[0] for line in tree.splitlines() if line.strip()}
    files = {path.name for path in (ROOT / room).rglob("*.py")} - {"__init__.py"}
    assert files <= listed, files - listed


def test_every_reason_has_its_mend() -> None:
    missing = {reason for reason in REASONS if f"`{reason}`" not in README}
    assert not missing
