"""How many tokens of the model's window are left for a context, and for evidence."""

from engine.prompts import Prompter
from service.errors import fail
from service.routes import Budget

_LEAST = 32  # tokens of context below which no evidence fits


class PromptRoom:
    """The room in one model's window; `evidence` is the most that any prompt gets of it."""

    def __init__(self, prompter: Prompter, window: int, evidence: int) -> None:
        self._prompter, self._window, self.evidence = prompter, window, evidence

    def of(self, question: str, max_prompt_tokens: int, max_tokens: int) -> tuple[int, Budget]:
        """Tokens left for a context and for evidence, by the window and the caller's budget.

        Raises:
            ServiceError: QUESTION_TOO_LONG, INVALID_VALUE for a budget that holds no evidence.
        """
        leads = (self._prompter.lead, self._prompter.quote)
        asked = max(len(self._prompter.question_ids(question, lead)) for lead in leads)
        longest = self._window // 4
        if asked > longest:
            raise fail(
                "QUESTION_TOO_LONG",
                f"the question has {asked} tokens, {longest} fit; shorten it, "
                "or register the long part as a corpus",
                field="query",
            )
        window = self._window - max_tokens
        most = min(window, max_prompt_tokens or window)
        room = most - asked - len(self._prompter.context_ids([]))
        if room < _LEAST:
            raise fail(
                "INVALID_VALUE",
                f"max_prompt_tokens is {max_prompt_tokens}; the question alone takes {asked}, "
                f"so give at least {most - room + _LEAST}",
                field="budget.max_prompt_tokens",
            )
        return room, Budget(min(self.evidence, room))
