"""One window read once: where its sentences lie, their vectors, and its keys at the retrieval heads.

A window's keys do not depend on any question (attention is causal and the question stands behind it),
nor on where the window lies in its document, so the record is stored by the window's hash and shared.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from engine.elsewhere import NOWHERE, Elsewhere, forget_old
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.plain_file import plain_descriptor, plain_path
from engine.plain_folder import STAGING, files_below, staged
from engine.prompts import Prompter
from retrieval.heads import RetrievalHeads
from retrieval.quantised_keys import QuantisedKeys, quantise
from retrieval.windows import Window, WindowSize

FORMAT = 3
_AT_ONCE = 8  # records that are brought here from elsewhere


@dataclass(frozen=True, slots=True, eq=False)
class WindowRecord:
    """What is kept of one window: S sentences, and T tokens' keys at the stored KV heads."""

    spans: NDArray[np.int32]  # [S, 2] characters, counted from the window's start
    token_counts: NDArray[np.int32]  # [S] tokens of each sentence; they sum to T
    vectors: NDArray[np.float32]  # [S, embedding dimension]
    keys: QuantisedKeys


@dataclass(frozen=True, slots=True)
class IndexRecipe:
    """Everything a window record depends on beside the window's text; its digest names the shelf."""

    model: str
    embedder: str
    heads: tuple[tuple[int, int], ...]
    size: WindowSize

    @property
    def digest(self) -> str:
        parts = [FORMAT, self.model, self.embedder, self.heads, self.size.least, self.size.most]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class WindowReader:
    """Reads windows with the model and the embedder."""

    def __init__(self, model: LanguageModel, embedder: Embedder, heads: RetrievalHeads) -> None:
        self.model, self.embedder, self.heads = model, embedder, heads
        self.size = WindowSize()
        self.group = model.geometry.heads // model.geometry.kv_heads

    @property
    def recipe(self) -> IndexRecipe:
        kv_heads = self.heads.kv_heads(self.group)
        return IndexRecipe(self.model.fingerprint, self.embedder.fingerprint, kv_heads, self.size)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, encoded apart."""
        return [len(self.model.encode(text)) for text in texts]

    def read(self, text: str, window: Window) -> WindowRecord:
        """The record of one window of the document `text`."""
        spans = np.array([(s.start, s.end) for s in window.sentences], dtype=np.int32)
        ids, counts = self._tokens(window.of(text), spans - window.start)
        vectors = self.embedder.embed([sentence.of(text) for sentence in window.sentences])
        return WindowRecord(spans - np.int32(window.start), counts, vectors, self.keys(ids))

    def _tokens(self, text: str, spans: NDArray[np.int32]) -> tuple[list[int], NDArray[np.int32]]:
        """Ids of one tokenisation, and how many of them belong to each sentence."""
        ids, offsets = self.model.encode_with_spans(text)
        # A token belongs to the last sentence that starts at or before the token's last character.
        ends = np.array([max(start, end - 1) for start, end in offsets], dtype=np.int64)
        owner = np.searchsorted(spans[:, 0], ends, side="right") - 1
        return ids, np.bincount(owner, minlength=len(spans)).astype(np.int32)

    def keys(self, ids: Sequence[int]) -> QuantisedKeys:
        """The keys of a window's tokens at the stored heads."""
        return read_keys(self.model, self.heads, [ids])[0]


def read_keys(
    model: LanguageModel, heads: RetrievalHeads, batch: Sequence[Sequence[int]]
) -> list[QuantisedKeys]:
    """Keys of several windows' tokens at the heads searched, read at once behind the opening."""
    return [quantise(keys) for keys in exact_keys(model, heads, batch)]


def exact_keys(
    model: LanguageModel, heads: RetrievalHeads, batch: Sequence[Sequence[int]]
) -> list[torch.Tensor]:
    """The same before they are rounded, [G, T, D] each."""
    opening = Prompter(model).opening_ids()
    keys = model.keys([[*opening, *ids] for ids in batch], heads.layers)
    places = heads.kv_heads(model.geometry.heads // model.geometry.kv_heads)
    first = len(opening)
    return [
        torch.stack([keys[layer][i, head, first : first + len(ids)] for layer, head in places])
        for i, ids in enumerate(batch)
    ]


class WindowShelf:
    """Window records on disk: `<folder>/<recipe>/<two letters>/<window digest>.safetensors`.

    What is being written lies in `staging`, a folder of the same file system whose owner removes what a
    kill leaves there; beside its place where none is given. No link is followed below `root`, or the
    folder where none is given. What meets one raises FileNotPlainError.
    """

    def __init__(
        self,
        folder: Path,
        recipe: IndexRecipe,
        root: Path | None = None,
        staging: Path | None = None,
        elsewhere: Elsewhere = NOWHERE,
    ) -> None:
        self.folder, self.root = folder / recipe.digest, root or folder
        self._staging, self._elsewhere = staging, elsewhere

    def path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def holds(self, digest: str) -> bool:
        """Whether the window was read before, here or elsewhere; asking keeps it from the next sweep."""
        try:
            record = plain_descriptor(self.path(digest), self.root, os.O_RDONLY)
        except FileNotFoundError:
            if not self._elsewhere.bring(self.path(digest)):
                return False
        else:
            try:  # in use again: a sweep that runs before a catalog names it lets it be
                os.utime(record)
            finally:
                os.close(record)
        self._elsewhere.keep(self.path(digest))
        return True

    def bring(self, digests: Iterable[str]) -> None:
        """Sees that records are here, if they are anywhere; several at once, for each takes a while."""
        missing = [self.path(digest) for digest in digests if not self.path(digest).exists()]
        if missing:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self._elsewhere.bring, missing))

    def put(self, digest: str, record: WindowRecord) -> None:
        """Stores a record whole or not at all; storing it again changes nothing."""
        tensors = {
            "spans": torch.from_numpy(record.spans),
            "token_counts": torch.from_numpy(record.token_counts),
            "vectors": torch.from_numpy(record.vectors),
            "keys": record.keys.values.contiguous(),
            "key_scales": record.keys.scales.contiguous(),
        }
        path, within = self.path(digest), self._staging
        with staged(path, self.root, point="window", within=within) as staging:
            save_file(tensors, staging)
        self._elsewhere.keep(path)

    def get(self, digest: str) -> WindowRecord:
        """The record, its tensors mapped from the file: keys take memory as they are searched.

        Raises FileNotFoundError where the window was never read under this recipe.
        """
        try:
            return self._get(digest)
        except FileNotFoundError:
            if not self._elsewhere.bring(self.path(digest)):
                raise
        return self._get(digest)

    def _get(self, digest: str) -> WindowRecord:
        with (
            plain_path(self.path(digest), self.root) as plain,
            safe_open(plain, framework="pt") as file,
        ):
            spans, counts, vectors, keys, scales = (
                file.get_tensor(name)
                for name in ("spans", "token_counts", "vectors", "keys", "key_scales")
            )
        return WindowRecord(
            spans.numpy(), counts.numpy(), vectors.numpy(), QuantisedKeys(keys, scales)
        )


def delete_torn_windows(folder: Path, root: Path | None = None) -> None:
    """Removes what a killed writer left half-written; for when no writer is at work."""
    for name, within in files_below(folder, root):
        if name.endswith(STAGING):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=within)


def delete_unreferenced_windows(
    folder: Path,
    referenced: Set[str],
    grace_seconds: float = 3600.0,
    root: Path | None = None,
    elsewhere: Elsewhere = NOWHERE,
) -> int:
    """Removes records under any recipe that nobody names, and torn ones; returns how many files.

    What is younger than `grace_seconds` stays: an index being built names its windows at its end.
    """
    oldest = time.time() - grace_seconds
    removed = 0
    for name, within in files_below(folder, root):  # a torn one's stem is no digest
        with suppress(FileNotFoundError):  # another process sweeps too
            found = os.stat(name, dir_fd=within, follow_symlinks=False)
            if Path(name).stem not in referenced and found.st_mtime < oldest:
                os.unlink(name, dir_fd=within)
                removed += 1
    forget_old(elsewhere, folder, referenced, oldest)
    return removed
