"""Token ids to text as they come: no split characters, no half stop string ever leaves."""

from collections.abc import Sequence

from engine.model import LanguageModel

_BROKEN = "\ufffd"
_OVERLAP = 4  # tokens decoded again so that word-start spaces come out as in the whole text


class Detokenizer:
    """Turns one answer's tokens into text deltas; ends at the first stop string, which is cut off."""

    def __init__(self, model: LanguageModel, stop: Sequence[str] = ()) -> None:
        self._model = model
        self._stop = tuple(text for text in stop if text)
        self._ids: list[int] = []
        self._decoded = 0  # ids whose text has been taken
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain now, given one more token."""
        if self.stopped:
            return ""
        self._ids.append(token)
        start = max(0, self._decoded - _OVERLAP)
        before = self._model.decode(self._ids[start : self._decoded])
        text = self._model.decode(self._ids[start:])
        if text.endswith(_BROKEN):
            return ""  # the character needs another token
        self._decoded = len(self._ids)
        self._held += text[len(before) :]
        return self._release()

    def finish(self) -> str:
        """What is still held back once no more tokens come."""
        if self.stopped:
            return ""
        start = max(0, self._decoded - _OVERLAP)
        before = self._model.decode(self._ids[start : self._decoded])
        self._held += self._model.decode(self._ids[start:])[len(before) :]
        text = self._release() + self._held
        self._held = ""
        return text

    def _release(self) -> str:
        for stop in self._stop:
            at = self._held.find(stop)
            if at >= 0:
                self.stopped = True
                self._held = self._held[:at]
        if self.stopped:
            text, self._held = self._held, ""
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
