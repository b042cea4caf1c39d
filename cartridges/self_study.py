"""Self-study (Eyuboglu et al. 2025, section 4): the model questions itself about its corpus.

A small model asked plainly repeats the instruction or invents; shown worked examples on single
sentences it writes usable pairs (few-shot form). A conversation is kept only where the corpus in
context lowers the model's loss on the answer: generic and invented answers drop out by themselves.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from cartridges.conversations import Conversation, distinct, parse_completion, recitation
from engine.generation import GenerationRequest, generate_text
from engine.model import LanguageModel
from engine.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class StudySettings:
    """How much is studied. `gain` is in nats a token.

    `conversations` 0 asks about every sentence once, within bounds that keep a build in minutes.
    """

    conversations: int = 0
    gain: float = 0.1
    batch: int = 32
    answer_tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.conversations == 1 or self.conversations < 0:
            raise ValueError(f"conversations is {self.conversations}; give 0 or at least 2")

    def count_for(self, sentences: int) -> int:
        return self.conversations or max(32, min(256, sentences))


def choose_sentences(sentences: Sequence[str], count: int, seed: int) -> list[int]:
    """Numbers of `count` sentences spread evenly: every eligible one before any comes twice."""
    eligible = [i for i, text in enumerate(sentences) if 5 <= len(text.split()) <= 80]
    eligible = eligible or list(range(len(sentences)))
    chance = random.Random(seed)
    chosen: list[int] = []
    while eligible and len(chosen) < count:
        chosen.extend(chance.sample(eligible, min(len(eligible), count - len(chosen))))
    return chosen


def converse(
    model: LanguageModel,
    sentences: Sequence[str],
    chosen: Sequence[int],
    settings: StudySettings,
    done: int = 0,
) -> Iterator[list[Conversation]]:
    """Conversations about the chosen sentences, batch by batch; unsound ones are left out.

    A sentence asked about for the first time is asked greedily; its repetitions are sampled. The
    first `done` batches are passed over: what follows is what would have followed them.
    """
    shown = few_shot_prompt()
    shared = model.prefill(model.encode(shown))
    first = done * settings.batch
    seen = set(chosen[:first])
    for start in range(first, len(chosen), settings.batch):
        batch = list(chosen[start : start + settings.batch])
        requests = []
        for i, number in enumerate(batch):
            warmth = 0.7 if number in seen else 0.0
            seen.add(number)
            prompt = model.encode(f"Sentence: {' '.join(sentences[number].split())}\nQuestion:")
            requests.append(
                GenerationRequest(
                    f"{start + i}",
                    tuple(prompt),
                    shared,
                    SamplingParams(
                        max_tokens=settings.answer_tokens,
                        temperature=warmth,
                        top_p=0.9,
                        seed=settings.seed * 1_000_003 + start + i,
                        stop=("\n\n", "\nSentence:", "\nQuestion:"),
                    ),
                )
            )
        texts = generate_text(model, requests, settings.batch)
        found = [
            parse_completion(number, text, sentences[number])
            for number, text in zip(batch, texts, strict=True)
        ]
        yield [conversation for conversation in found if conversation]


def few_shot_prompt() -> str:
    """The worked examples, each "Sentence / Question / Answer", with an open end."""
    examples = json.loads((files("cartridges") / "examples.json").read_text())["examples"]
    return "".join(
        f"Sentence: {example['sentence']}\nQuestion: {example['question']}\n"
        f"Answer: {example['answer']}\n\n"
        for example in examples
    )


def recitations(sentences: Sequence[str], count: int, seed: int) -> list[Conversation]:
    """Up to `count` conversations that only quote the corpus, for models that cannot study."""
    chosen = choose_sentences(sentences, min(count, len(sentences)), seed)
    found = (recitation(number, sentences[number]) for number in chosen)
    return distinct(conversation for conversation in found if conversation)
