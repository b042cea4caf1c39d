"""Self-study by a model that follows instructions: it is told what to ask, and answers with a window of
the corpus in context.
"""

import itertools
from collections.abc import Iterator, Sequence

from cartridges.conversations import Conversation, sound
from cartridges.self_study import StudySettings, Topic, sampling
from engine.answer_row import GenerationRequest
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Lead, Prompter


def interview(
    model: LanguageModel,
    sentences: Sequence[str],
    batches: Sequence[Sequence[Topic]],
    settings: StudySettings,
) -> Iterator[list[Conversation]]:
    """The sound conversations of every batch. Topics of one window share its prefix, so that it is read
    once a batch.
    """
    prompter = Prompter(model)
    for topics in batches:
        found: list[Conversation] = []
        for window, inside in _by_window(prompter, sentences, topics, settings.window):
            prefix = model.prefill(prompter.context_ids(sentences[i] for i in window))
            source = " ".join(sentences[i] for i in window)
            told = [f"{t.seed.instruction}\nBegin with: {t.passage(sentences)}" for t in inside]
            asked = _complete(prompter, prefix, inside, told, Lead(), settings)
            answers = _complete(prompter, prefix, inside, asked, prompter.lead, settings)
            found += [
                conversation
                for topic, request, answer in zip(inside, asked, answers, strict=True)
                if (conversation := sound(topic.seed, topic.sentence, request, answer, source))
            ]
        yield found


def _complete(
    prompter: Prompter,
    prefix: KVPrefix,
    topics: Sequence[Topic],
    requests: Sequence[str],
    lead: Lead,
    settings: StudySettings,
) -> list[str]:
    asked = [
        GenerationRequest(
            str(topic.number),
            tuple(prompter.question_ids(request, lead)),
            prefix,
            sampling(topic, settings, lead.stop),
        )
        for topic, request in zip(topics, requests, strict=True)
    ]
    return [text.strip() for text in generate_text(prompter.model, asked, settings.batch)]


def _by_window(
    prompter: Prompter, sentences: Sequence[str], topics: Sequence[Topic], most: int
) -> Iterator[tuple[range, list[Topic]]]:
    """The topics of each window of at most `most` tokens, in the order of the corpus."""
    start, tokens, edges = 0, 0, [0]
    for number, sentence in enumerate(sentences):
        tokens += len(prompter.line_ids(sentence))
        if tokens > most and number > start:
            edges.append(number)
            start, tokens = number, len(prompter.line_ids(sentence))
    edges.append(len(sentences))
    for first, behind in itertools.pairwise(edges):
        window = range(first, behind)
        if inside := [topic for topic in topics if topic.sentence in window]:
            yield window, inside
