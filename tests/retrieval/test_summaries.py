"""Summaries of clusters: one for each, made once, told under the budget."""

from typing import Any

import pytest

from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.crag import Condense, CragSettings, summarised
from retrieval.digest import Summary, size_label, size_tokens
from retrieval.heads import retrieval_heads
from retrieval.summaries import SummarySettings, summarise
from retrieval.window_index import WindowReader
from retrieval.windows import WindowSize, cut_windows


def index_of(model: LanguageModel, embedder: Any, text: str) -> CorpusIndex:
    reader = WindowReader(model, embedder, retrieval_heads(model))
    windows = cut_windows(text, reader.count_tokens, WindowSize(200, 600))
    placed = [Placement(0, w.start, reader.read(text, w)) for w in windows]
    return CorpusIndex([Document("handbook", text)], placed)


@pytest.fixture(scope="module")
def index(model: LanguageModel, embedder: Any, handbook: str) -> CorpusIndex:
    return index_of(model, embedder, handbook)


def test_every_sentence_counts_in_one_summary_and_the_largest_cluster_comes_first(
    model: LanguageModel, index: CorpusIndex
) -> None:
    made = summarise(index, Prompter(model), SummarySettings())
    sizes = [summary.speaks_for for summary in made]
    assert len(made) == 4
    assert sum(sizes) == len(index)
    assert sizes == sorted(sizes, reverse=True)
    assert len({summary.key for summary in made}) == len({s.sentence for s in made}) == 4
    assert made == summarise(index, Prompter(model), SummarySettings())
    assert not any("\n" in summary.text for summary in made)


def test_what_was_summed_up_before_is_not_read_again(
    model: LanguageModel, index: CorpusIndex
) -> None:
    prompter = Prompter(model)
    made = summarise(index, prompter, SummarySettings())
    known = {one.key: f"about {one.sentence}" for one in made[1:]}
    prompts = []
    hook = model.network.register_forward_pre_hook(
        lambda _, __, kwargs: prompts.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    again = summarise(index, prompter, SummarySettings(), known)
    hook.remove()
    assert set(prompts) == {1}  # the one that is not known
    assert again[0] == made[0]
    assert [one.text for one in again[1:]] == [f"about {one.sentence}" for one in made[1:]]


def test_other_words_another_model_or_another_length_are_another_summary(
    model: LanguageModel, embedder: Any, index: CorpusIndex, handbook: str
) -> None:
    prompter = Prompter(model)
    keys = {one.key for one in summarise(index, prompter, SummarySettings(told=1))}
    edited = index_of(model, embedder, handbook + "\nThe harbor has a new crane of blue steel.")
    others = {one.key for one in summarise(edited, prompter, SummarySettings(told=1))}
    assert keys != others
    assert not keys & {one.key for one in summarise(index, prompter, SummarySettings(told=2))}


@pytest.mark.parametrize("budget", [1, 20, 60, 256])
def test_an_overview_tells_the_largest_clusters_that_its_budget_has_room_for(
    embedder: Any, index: CorpusIndex, budget: int
) -> None:
    summaries = [
        Summary(place, 40 - 10 * rank, f"Thing {rank} is told. " * (rank + 1), str(rank))
        for rank, place in enumerate((9, 3, 27))
    ]
    told = CorpusIndex(index.documents, [], summaries=summaries)
    told.spans, told.vectors, told.document_of = index.spans, index.vectors, index.document_of
    told.token_counts = index.token_counts
    settings = CragSettings(evidence=budget, condense=Condense.SUMMARIES)
    found = summarised(embedder, told, "Summarise the text.", settings, lambda text: len(text) // 4)
    fits = [one for one in summaries if len(one.text) // 4 + size_tokens(one.speaks_for) <= budget]
    assert sum(one.tokens for one in found.evidence) <= budget
    assert [one.sentence for one in found.evidence] == sorted(
        one.sentence for one in found.evidence
    )
    if budget == 256:
        assert {one.sentence for one in found.evidence} == {9, 3, 27}
    if fits:
        assert found.lines[9].text == size_label(40) + summaries[0].text
    else:
        assert found.evidence == []


def test_an_empty_corpus_has_no_summary(model: LanguageModel) -> None:
    assert summarise(CorpusIndex([], []), Prompter(model), SummarySettings()) == ()


def test_a_condensing_that_does_not_exist_is_refused_by_name() -> None:
    assert Condense("summaries") is Condense.SUMMARIES
    with pytest.raises(ValueError, match="condense is 'poems'; give extracts or summaries"):
        Condense("poems")
