"""Whether a data folder holds what its server says: each corpus and cartridge whole and once, no litter.

For data folders on this machine whose server answers and whose workers rest.
"""

import hashlib
import json
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from cartridges.manifest import CartridgeError
from cartridges.store import digest_of, load_studied, read_manifest, read_part
from service.client.connection import Client
from service.client.types import Cartridge, Corpus
from service.config import Layout


def artifact_digests(data: Path, client: Client) -> dict[str, str]:
    """A digest of all that was made of each corpus and each cartridge, by its name; equal texts and
    recipes give equal ones.
    """
    layout = Layout(data)
    corpora = {each.name: _index_digest(layout, each) for each in client.list_corpora()}
    return corpora | {each.name: each.tensor_digest for each in client.list_cartridges()}


def found_faults(data: Path, client: Client) -> dict[str, list[str]]:
    """What is wrong, in sentences, by the name of a corpus or a cartridge; "" for the rest."""
    layout = Layout(data)
    told = {each.name: list(_corpus_faults(layout, each)) for each in client.list_corpora()}
    for cartridge in client.list_cartridges():
        told[cartridge.name] = list(_cartridge_faults(layout, cartridge))
    told[""] = [f"{path.relative_to(data)} is left behind" for path in _litter(layout)]
    told[""] += [f"{path.relative_to(data)} has no record" for path in _unknown(layout, told)]
    told[""] += [
        f"{each.name} ended as {each.error.reason if each.error else each.phase}"
        for each in client.list_jobs()
        if not each.done or each.error
    ]
    return {name: faults for name, faults in told.items() if faults}


def _corpus_faults(layout: Layout, corpus: Corpus) -> Iterator[str]:
    if corpus.state != "ready" or not corpus.is_indexed:
        yield f"it is {corpus.state}"
        return
    folder = layout.catalogs / corpus.id
    found = sorted(folder.glob(f"*-{corpus.indexed_digest}.json"))
    if len(found) != 1:
        yield f"its index has the catalogs {[path.name for path in found]}"
        return
    catalog = json.loads(found[0].read_bytes())
    beside = _beside(found[0], catalog)
    for path, sha256 in beside.items():
        if not path.is_file() or digest_of(path) != sha256:
            yield f"{path.name} is missing or torn"
    others = [path for path in folder.iterdir() if path not in (found[0], *beside)]
    if not _is_earlier(others, catalog):
        yield f"its index has the files {sorted(path.name for path in others)} too"
    for document in catalog["documents"]:
        text = layout.data / "documents" / document["sha256"][:2] / document["sha256"]
        if not text.is_file() or digest_of(text) != document["sha256"]:
            yield f"the text of {document['id']} is missing or torn"
        for window in document["windows"]:
            if not _is_whole(_window(layout, catalog["recipe"], window["digest"])):
                yield f"a window of {document['id']} is missing or torn"


def _beside(path: Path, catalog: dict[str, Any]) -> dict[Path, str]:
    """The files that belong to a catalog, with the digests that it names."""
    beside = {path.with_suffix(".safetensors"): catalog["words_sha256"]}
    vectors = (catalog.get("dense") or {}).get("sha256")
    return beside | ({path.with_suffix(".faiss"): vectors} if vectors else {})


def _is_earlier(files: list[Path], catalog: dict[str, Any]) -> bool:
    """Whether files are none, or those of the one index before whose texts are all still there."""
    catalogs = [path for path in files if path.suffix == ".json"]
    if not catalogs:
        return not files
    earlier = json.loads(catalogs[0].read_bytes())
    own = {catalogs[0], *_beside(catalogs[0], earlier)}
    return set(files) == own and _texts(earlier) <= _texts(catalog)


def _texts(catalog: dict[str, Any]) -> set[tuple[str, str]]:
    return {(document["id"], document["sha256"]) for document in catalog["documents"]}


def _cartridge_faults(layout: Layout, cartridge: Cartridge) -> Iterator[str]:
    folder = layout.cartridge(cartridge.corpus_id, cartridge.id)
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    if cartridge.state not in ("ready", "stale"):
        yield f"it is {cartridge.state}"
    if len(places) != 1:
        yield f"it has the places {[place.name for place in places]}"
        return
    try:
        manifest = read_manifest(places[0])
        for number, _ in enumerate(manifest.parts):
            read_part(places[0], manifest, number)
            load_studied(places[0], manifest, number)
    except CartridgeError as error:
        yield str(error)
        return
    if manifest.tensor_digest != cartridge.tensor_digest:
        yield "its files are not those that its record names"


def _index_digest(layout: Layout, corpus: Corpus) -> str:
    digest = hashlib.sha256()
    for path in sorted((layout.catalogs / corpus.id).glob(f"*-{corpus.indexed_digest}.json")):
        catalog = json.loads(path.read_bytes())
        digest.update(path.read_bytes())
        for document in catalog["documents"]:
            for window in document["windows"]:
                file = _window(layout, catalog["recipe"], window["digest"])
                digest.update(digest_of(file).encode())
    return digest.hexdigest()


def _window(layout: Layout, recipe: str, digest: str) -> Path:
    return layout.windows / recipe / digest[:2] / f"{digest}.safetensors"


def _is_whole(file: Path) -> bool:
    try:
        with safe_open(file, framework="np"):  # its header says how long the file is
            return True
    except (FileNotFoundError, SafetensorError):
        return False


def _unknown(layout: Layout, names: Container[str]) -> Iterator[Path]:
    for path in (*layout.catalogs.glob("*/"), *layout.cartridges.glob("*/")):
        if f"corpora/{path.name}" not in names:
            yield path
    for path in layout.cartridges.glob("*/*/"):
        if f"corpora/{path.parent.name}/cartridges/{path.name}" not in names:
            yield path


def _litter(layout: Layout) -> Iterator[Path]:
    """Folders of claims, and files that were being written or replaced."""
    yield from layout.work.glob("*/")
    for folder in (layout.windows, layout.catalogs, layout.cartridges, layout.data / "documents"):
        for path in folder.rglob("*"):
            if "staging" in path.name or path.name.startswith(".tmp"):
                yield path
