"""Control tokens that a tokenizer does not call special, and texts cut so that they cannot hold one.

Tokenizers encode special tokens as text where they are told to, but not what else was added to their
vocabulary: Qwen's `<tool_call>` and `<think>`, say, which chat templates use.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ControlTokens:
    """`pattern` finds where one begins, None where the tokenizer has none of these."""

    pattern: re.Pattern[str] | None

    @classmethod
    def of(cls, tokenizer: Any) -> "ControlTokens":
        """Of a tokenizer of transformers. Runs of white space and single characters forge nothing."""
        added = [token for token in tokenizer.added_tokens_decoder.values() if not token.special]
        texts = {token.content for token in added if len(token.content.strip()) > 1}
        if not texts:
            return cls(None)
        either = "|".join(re.escape(text) for text in sorted(texts))
        return cls(re.compile(f"(?={either})"))  # looking ahead, so that none hides another

    def pieces(self, text: str) -> Iterator[tuple[int, str]]:
        """The text in pieces, each with its first character's place, cut inside every control token."""
        start = 0
        for found in self.pattern.finditer(text) if self.pattern else ():
            yield start, text[start : found.start() + 1]
            start = found.start() + 1
        yield start, text[start:]
