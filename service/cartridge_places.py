"""Where the files of a cartridge lie: one place for each claim that made it, in the cartridge's folder.

A place is named after the work folder of its claim, `<job>.<token>`, and tokens grow: a worker that
lost its job writes into a place of its own, and which place counts is known by the record's digest.
"""

from pathlib import Path

from cartridges.manifest import CartridgeError
from cartridges.store import MANIFEST, read_manifest
from service.removal import remove_tree
from service.work_folders import token_of


def find_place(folder: Path, tensor_digest: str, root: Path | None = None) -> Path:
    """The place in a cartridge's folder with those tensors; the folder itself, or a place with others or
    that must not be read, where there is none: reading it tells what is wrong.
    """
    if (folder / MANIFEST).exists():  # as earlier releases stored it
        return folder
    place = folder
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        if not path.parent.name.startswith("."):
            place = path.parent
            if _digest(place, root) == tensor_digest:
                return place
    return place


def clear_older(place: Path, root: Path) -> None:
    """Removes what earlier claims left beside a place that counts."""
    token = token_of(place)
    for other in place.parent.iterdir():
        if other != place and token_of(other) < token:
            remove_tree(other, root)


def _digest(place: Path, root: Path | None) -> str:
    try:
        return read_manifest(place, root).tensor_digest
    except CartridgeError:
        return ""
