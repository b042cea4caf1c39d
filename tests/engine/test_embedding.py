"""Texts become unit vectors, whatever they are embedded with."""

import numpy as np

from engine.embedding import Embedder

TEXTS = ["The lamp is lit at dusk.", "Gulls.", "The ferry to the island leaves at nine each day."]


def test_vectors_are_of_length_one_and_do_not_depend_on_their_company(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(TEXTS, batch=1), vectors, atol=1e-5)


def test_a_question_has_the_vector_of_its_text_and_is_not_remembered(embedder: Embedder) -> None:
    question = "When is the lamp lit, the first time it is asked?"
    expected = embedder.embed([question])[0]
    first = embedder.embed_question(question)
    np.testing.assert_allclose(first, expected, atol=1e-6)
    assert embedder.embed_question(question) is not first
