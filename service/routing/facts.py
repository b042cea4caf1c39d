"""What a decision is made from: a question, what a cheap search says of it, corpus and cartridge."""

from dataclasses import dataclass, field

from cartridges.guard import Guard
from retrieval.question_kind import Kind
from retrieval.survey import Survey
from service.routing.rehearsal import Rehearsal


@dataclass(frozen=True, slots=True)
class CartridgeFacts:
    """What is known of the corpus' cartridge; `problem` is (reason, message) where it cannot serve."""

    id: str
    recovered: float = 0.0
    guard: Guard | None = None
    part: int = 0  # the one that stands for the text around the nearest sentence, of so many
    parts: int = 1
    prefix_tokens: int = 0
    mebibytes: float = 0.0  # still to be loaded; 0 where it is in memory
    tensor_digest: str = ""
    changed: float = 0.0  # share of the corpus' windows that are not as it has studied them
    problem: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Inputs of a decision. Tokens count the text as it stands in a prompt."""

    corpus_tokens: int
    room: int  # tokens a context may have, by the window and the caller's budget
    kind: Kind = Kind.LOOKUP
    is_nameless: bool = False  # a question about the whole that names nothing in it
    survey: Survey = field(default_factory=Survey)
    is_fresh: bool = True  # the index covers the corpus as it is now
    cartridge: CartridgeFacts | None = None
    sentences: int = 0
    evidence: int = 256  # most tokens of evidence
    asked: int = 0  # tokens of the question in its prompt
    answer: int = 32  # tokens that an answer is expected to have
    seconds_left: float | None = None  # until the caller's deadline
    rehearsal: Rehearsal | None = None

    def signals(self) -> dict[str, float]:
        """The numbers that a person may want to see."""
        found = self.survey
        signals = {
            "corpus_tokens": float(self.corpus_tokens),
            "context_room": float(self.room),
            "index_fresh": float(self.is_fresh),
            "nearest_cosine": round(found.nearest, 4),
            "nearest_standing": round(found.standing, 3),
            "nearest_margin": round(found.margin, 4),
            "words_agree": round(found.agreement, 3),
            "words_known": round(found.known, 3),
            "spread": round(found.spread, 3),
        }
        if self.rehearsal and self.rehearsal.questions:
            signals["rehearsed_questions"] = float(self.rehearsal.questions)
        if self.cartridge and not self.cartridge.problem:
            signals["cartridge_recovered"] = round(self.cartridge.recovered, 4)
            if self.cartridge.guard:
                signals["cartridge_guard"] = round(self.cartridge.guard.threshold, 4)
            if self.cartridge.changed:
                signals["cartridge_changed"] = round(self.cartridge.changed, 4)
            if self.cartridge.parts > 1:
                signals["cartridge_part"] = float(self.cartridge.part)
        return signals
