"""An answer from what was found so far, to search with: it names what the question only describes.

"Who founded the city where X was born?" finds X; the draft from X's page names the city, and the city's
page is found by it (retrieve, read, retrieve: ITER-RETGEN, Shao et al. 2023).
"""

from collections.abc import Generator, Sequence

from engine.answer_row import GenerationRequest
from engine.generation import GenerationBatch
from engine.model import LanguageModel
from engine.prompts import Prompter
from engine.sampling import SamplingParams

TOKENS = 32
_STEPS = 8  # tokens between two pauses


class Drafter:
    """Drafts of one model, greedily."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self._prompter = model, Prompter(model)

    def steps(self, sentences: Sequence[str], question: str) -> Generator[None, None, str]:
        """The draft's text, which may be empty; a pause every few tokens."""
        prompt = (*self._prompter.context_ids(sentences), *self._prompter.question_ids(question))
        batch = GenerationBatch(self.model)
        batch.add([GenerationRequest("draft", prompt, None, SamplingParams(TOKENS))])
        text = ""
        step = 0
        while len(batch):
            text += "".join(piece.text for piece in batch.step())
            step += 1
            if step % _STEPS == 0:
                yield
        return text.strip()
