"""Where the files of a cartridge lie: one place for each claim that made it, in the cartridge's folder.

A place is named after the work folder of its claim, `<job>.<token>`, and tokens grow: a worker that
lost its job writes into a place of its own, and which place counts is known by the record's digest.
"""

from pathlib import Path

from cartridges.manifest import CartridgeError
from cartridges.store import MANIFEST, read_manifest
from engine.elsewhere import NOWHERE, Elsewhere
from engine.plain_folder import delete_tree
from service.removal import remove_tree
from service.work_folders import token_of


def find_place(
    folder: Path, tensor_digest: str, root: Path | None = None, elsewhere: Elsewhere = NOWHERE
) -> Path:
    """The place in a cartridge's folder with those tensors, brought here where it lies elsewhere; the
    folder itself, or a place with others or that must not be read, where there is none: reading it tells
    what is wrong.
    """
    if (folder / MANIFEST).exists():  # as earlier releases stored it
        return folder
    place = folder
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        if not path.parent.name.startswith("."):
            place = path.parent
            if _digest(place, root) == tensor_digest:
                return place
    return _brought(folder, tensor_digest, root, elsewhere) or place


def keep_place(place: Path, elsewhere: Elsewhere) -> None:
    """Copies a cartridge's files elsewhere, its manifest last."""
    for path in sorted(place.iterdir(), key=lambda path: path.name == MANIFEST):
        elsewhere.keep(path)


def clear_older(place: Path, root: Path, elsewhere: Elsewhere = NOWHERE) -> None:
    """Removes what earlier claims left beside a place that counts, here and elsewhere."""
    token = token_of(place)
    there = {Path(name).parts[0] for name in elsewhere.entries(place.parent)}
    for name in there | {other.name for other in place.parent.iterdir()}:
        other = place.parent / name
        if other != place and token_of(other) < token:
            remove_tree(other, root, elsewhere)


def _brought(
    folder: Path, tensor_digest: str, root: Path | None, elsewhere: Elsewhere
) -> Path | None:
    """The place of those tensors once its files are here, the manifest last."""
    there = elsewhere.entries(folder)
    for name in there:
        place = folder / Path(name).parent
        if Path(name).name != MANIFEST or not elsewhere.bring(folder / name):
            continue
        if _digest(place, root) != tensor_digest:
            delete_tree(place, root)
            continue
        for other in there:
            if Path(other).parent == Path(name).parent and other != name:
                elsewhere.bring(folder / other)
        return place
    return None


def _digest(place: Path, root: Path | None) -> str:
    try:
        return read_manifest(place, root).tensor_digest
    except CartridgeError:
        return ""
