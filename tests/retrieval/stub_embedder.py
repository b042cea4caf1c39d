"""An embedder without a network: a text's vector follows from its hash."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class StubEmbedder:
    """Unit vectors of 16 dimensions."""

    dimension = 16
    fingerprint = "stub"

    def embed_question(self, question: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed([question])[0]
        return vector

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = []
        for text in texts:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
            row = np.random.default_rng(seed).standard_normal(self.dimension)
            rows.append(row / np.linalg.norm(row))
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.dimension)
