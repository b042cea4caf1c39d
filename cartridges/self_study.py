"""Self-study (Eyuboglu et al. 2025, section 4): the model questions itself about its corpus.

A small model asked plainly repeats the instruction or invents; shown worked examples on short
passages it writes usable pairs (few-shot form; `interview` has the other). A conversation is kept only
where the corpus in context lowers the model's loss on the answer: generic and invented answers drop out
by themselves.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cartridges.conversations import (
    Conversation,
    distinct,
    mention,
    parse_completion,
    recitation,
)
from cartridges.seeds import Seed, load_seeds
from engine.answer_row import GenerationRequest
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class StudySettings:
    """How much is studied. `gain` is in nats a token; `kinds` are names of seeds, none for no study.

    `conversations` 0 asks `a_sentence` times about every sentence, `most` times at most, which keeps a
    build in minutes. `window` is in tokens: what a model that is instructed, not shown examples, reads
    at a time.
    """

    conversations: int = 0
    a_sentence: float = 1.0
    most: int = 256
    kinds: tuple[str, ...] = ("question",)
    quoted: float = 2.0  # quotations a sentence, `most_quoted` at most
    most_quoted: int = 1024
    gain: float = 0.1
    batch: int = 32
    answer_tokens: int = 64
    window: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.conversations == 1 or self.conversations < 0:
            raise ValueError(f"conversations is {self.conversations}; give 0 or at least 2")
        load_seeds(self.kinds)

    def quotations_for(self, sentences: int) -> int:
        """As many as are asked for, and four to every conversation where these are counted."""
        most = min(self.most_quoted, 4 * self.conversations or self.most_quoted)
        return min(most, round(self.quoted * sentences))

    def count_for(self, sentences: int) -> int:
        return self.conversations or max(32, min(self.most, round(self.a_sentence * sentences)))


@dataclass(frozen=True, slots=True)
class Topic:
    """What one conversation is to be about: a passage of the corpus and a kind of request.

    The first topic of a passage is asked about greedily, its repetitions are sampled.
    """

    number: int
    sentence: int
    seed: Seed
    is_repeated: bool

    def passage(self, sentences: Sequence[str]) -> str:
        return " ".join(sentences[self.sentence : self.sentence + self.seed.sentences])


def choose_sentences(sentences: Sequence[str], count: int, seed: int) -> list[int]:
    """Numbers of `count` sentences spread evenly: every eligible one before any comes twice."""
    eligible = [i for i, text in enumerate(sentences) if 5 <= len(text.split()) <= 80]
    eligible = eligible or list(range(len(sentences)))
    chance = random.Random(seed)
    chosen: list[int] = []
    while eligible and len(chosen) < count:
        chosen.extend(chance.sample(eligible, min(len(eligible), count - len(chosen))))
    return chosen


def plan_study(
    sentences: Sequence[str], settings: StudySettings, about: Sequence[int]
) -> list[list[Topic]]:
    """The topics of a study in batches, each of one kind: they share what the model is shown.

    `about` are the numbers of the sentences to be studied.
    """
    seeds = load_seeds(settings.kinds)
    count = settings.count_for(len(about))
    batches, number = [], 0
    for place, seed in enumerate(seeds):
        share = count // len(seeds) + (place < count % len(seeds))
        topics, seen = [], set[int]()
        for i in choose_sentences([sentences[i] for i in about], share, settings.seed + place):
            sentence = about[i]
            topics.append(Topic(number, sentence, seed, sentence in seen))
            seen.add(sentence)
            number += 1
        batches += [topics[i : i + settings.batch] for i in range(0, len(topics), settings.batch)]
    return batches


def converse(
    model: LanguageModel,
    sentences: Sequence[str],
    batches: Sequence[Sequence[Topic]],
    settings: StudySettings,
) -> Iterator[list[Conversation]]:
    """The sound conversations of every batch, by a model that is shown worked examples."""
    shared: tuple[Seed, KVPrefix] | None = None
    for topics in batches:
        seed = topics[0].seed
        if shared is None or shared[0] is not seed:
            shared = seed, model.prefill(model.encode(seed.few_shot))
        requests = [
            GenerationRequest(
                str(topic.number),
                tuple(model.encode(seed.opening(topic.passage(sentences)))),
                shared[1],
                sampling(topic, settings, seed.stops),
            )
            for topic in topics
        ]
        texts = generate_text(model, requests, settings.batch)
        found = [
            parse_completion(seed, topic.sentence, text, topic.passage(sentences))
            for topic, text in zip(topics, texts, strict=True)
        ]
        yield [conversation for conversation in found if conversation]


def sampling(topic: Topic, settings: StudySettings, stops: tuple[str, ...]) -> SamplingParams:
    return SamplingParams(
        max_tokens=settings.answer_tokens,
        temperature=0.7 if topic.is_repeated else 0.0,
        top_p=0.9,
        seed=settings.seed * 1_000_003 + topic.number,
        stop=stops,
    )


def quotations(
    sentences: Sequence[str], count: int, seed: int, about: Sequence[int]
) -> list[Conversation]:
    """Up to `count` conversations that only quote the corpus and cost no generation: first how every
    sentence goes on, then what is said of its names.
    """
    forms = {number: iter((recitation, mention)) for number in about}
    made = []
    for i in choose_sentences([sentences[i] for i in about], count, seed):
        if form := next(forms[about[i]], None):
            made.append(form(about[i], sentences[about[i]]))
    return distinct(conversation for conversation in made if conversation)
