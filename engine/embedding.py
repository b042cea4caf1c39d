"""Texts to unit vectors, through sentence-transformers."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from engine.wheels import embedder_folder

DEFAULT_EMBEDDER = "all-minilm-l6-v2"


class Embedder:
    """A sentence encoder; vectors are float32 with length 1, so that inner product is cosine."""

    def __init__(self, name: str, encoder: Any) -> None:
        self.name = name
        self._encoder = encoder
        self.dimension = int(encoder.get_embedding_dimension())
        self.fingerprint = _digest(encoder)

    @classmethod
    def load(cls, name: str = DEFAULT_EMBEDDER, device: str = "cpu") -> "Embedder":
        """Loads the wheel's model, or any sentence-transformers folder or hub id.

        Raises:
            ModelMissingError: the default embedder's wheel is not installed.
        """
        source = str(embedder_folder()) if name == DEFAULT_EMBEDDER else name
        device = "cuda" if device.startswith("cuda") else "cpu"
        return cls(name, SentenceTransformer(source, device=device))

    def embed(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None, batch: int = 32
    ) -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimension]; `progress` hears the count done after each batch."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # like lengths pad least
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            vectors[rows] = self._encoder.encode(
                [texts[i] for i in rows],
                batch_size=batch,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            if progress:
                progress(start + len(rows))
        return vectors

    def embed_question(self, question: str) -> NDArray[np.float32]:
        """The question's unit vector [dimension]; nothing of it is remembered here, where all who ask
        would share it.
        """
        vector: NDArray[np.float32] = self.embed([question])[0]
        return vector


def _digest(encoder: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
