"""Which route answers a question: pure rules over facts, each with a stable reason.

The order is from what excludes to what is cheap: an explicit wish, a question that is not about the
corpus, a cartridge that recovers enough, a text that is short anyway, a clear dense hit, and attention
for the rest. What a rule passes over is kept as a fallback, so that nothing is left in silence.
"""

from dataclasses import dataclass

from cartridges.guard import Guard
from retrieval.question_kind import asks_for_figure, asks_for_overview, names_nothing
from service.answers import Decision, Fallback, Route


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """The thresholds of the rules; cosines are of the default embedder."""

    off_topic: float = 0.30  # no sentence of the corpus is nearer to the question than this
    clear_hit: float = 0.60  # the nearest sentence very likely holds the answer
    recovered: float = 0.90  # share of full-context quality that a cartridge must recover
    short_text: int = 384  # tokens up to which the whole text is as cheap as evidence from it


@dataclass(frozen=True, slots=True)
class CartridgeFacts:
    """What is known of the corpus' cartridge; `problem` is (reason, message) where it cannot serve."""

    id: str
    recovered: float = 0.0
    guard: Guard | None = None
    part: int = 0  # the one that stands for the text around the nearest sentence, of so many
    parts: int = 1
    tensor_digest: str = ""
    problem: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Inputs of a decision. Tokens count the text as it stands in a prompt."""

    corpus_tokens: int
    room: int  # tokens a context may have, by the window and the caller's budget
    nearest: float  # cosine of the question and the nearest sentence
    is_fresh: bool  # the index covers the corpus as it is now
    cartridge: CartridgeFacts | None

    def signals(self) -> dict[str, float]:
        signals = {
            "corpus_tokens": float(self.corpus_tokens),
            "context_room": float(self.room),
            "nearest_cosine": round(self.nearest, 4),
            "index_fresh": float(self.is_fresh),
        }
        if self.cartridge and not self.cartridge.problem:
            signals["cartridge_recovered"] = round(self.cartridge.recovered, 4)
            if self.cartridge.guard:
                signals["cartridge_guard"] = round(self.cartridge.guard.threshold, 4)
            if self.cartridge.parts > 1:
                signals["cartridge_part"] = float(self.cartridge.part)
        return signals


def choose(question: str, wish: Route, facts: Facts, policy: RoutingPolicy) -> Decision:
    """The route for a question. A wish other than `auto` is taken as it is; see `obstacle` first."""
    if wish is not Route.AUTO:
        return Decision(
            wish, wish, "REQUESTED", "the caller asked for this route", facts.signals(),
            _cartridge_id(wish, facts),
        )  # fmt: skip
    left: list[Fallback] = []
    route, reason, explanation = _rules(question, facts, policy, left)
    return Decision(
        route, wish, reason, explanation, facts.signals(), _cartridge_id(route, facts), tuple(left)
    )


def obstacle(route: Route, facts: Facts) -> tuple[str, str] | None:
    """Why a route cannot run, as (reason, message with the mend); None where it can."""
    if route is Route.CARTRIDGE:
        if facts.cartridge is None:
            return (
                "CARTRIDGE_NOT_FOUND",
                "the corpus has no cartridge; run `longmemory cartridge train`",
            )
        return facts.cartridge.problem
    if route is Route.FULL_CONTEXT and facts.corpus_tokens > facts.room:
        return (
            "CONTEXT_TOO_LONG",
            f"the corpus has {facts.corpus_tokens} tokens and {facts.room} fit beside the question; "
            "use route infini_retri, crag or auto",
        )
    return None


def _rules(
    question: str, facts: Facts, policy: RoutingPolicy, left: list[Fallback]
) -> tuple[Route, str, str]:
    is_overview = asks_for_overview(question)
    if facts.nearest < policy.off_topic and not (is_overview and names_nothing(question)):
        return (
            Route.NONE,
            "OFF_TOPIC",
            f"no sentence of the corpus comes near the question (cosine {facts.nearest:.2f}, "
            f"{policy.off_topic:.2f} asked)",
        )
    if facts.cartridge and (weakness := _weakness(question, facts, facts.cartridge, policy)):
        left.append(Fallback(Route.CARTRIDGE, *weakness))
    elif facts.cartridge:
        return (
            Route.CARTRIDGE,
            "CARTRIDGE_READY",
            f"its cartridge recovers {facts.cartridge.recovered:.0%} of full-context quality "
            f"({policy.recovered:.0%} asked), and nothing is cheaper",
        )
    if facts.corpus_tokens <= min(policy.short_text, facts.room):
        return (
            Route.FULL_CONTEXT,
            "SHORT_TEXT",
            f"the whole text has {facts.corpus_tokens} tokens, no more than evidence from it would",
        )
    if blocked := obstacle(Route.FULL_CONTEXT, facts):
        left.append(Fallback(Route.FULL_CONTEXT, *blocked))
    if is_overview:
        return Route.CRAG, "OVERVIEW", "the question is about the whole; an extract covers it"
    if facts.nearest >= policy.clear_hit:
        return (
            Route.CRAG,
            "CLEAR_HIT",
            f"dense search has a clear hit (cosine {facts.nearest:.2f}), and it is the cheapest search",
        )
    return (
        Route.INFINI_RETRI,
        "NO_CLEAR_HIT",
        f"dense search has no clear hit (cosine {facts.nearest:.2f}, {policy.clear_hit:.2f} asked), "
        "so the model's attention searches",
    )


def _weakness(
    question: str, facts: Facts, cartridge: CartridgeFacts, policy: RoutingPolicy
) -> tuple[str, str] | None:
    """Why a cartridge is passed over, as (reason, message)."""
    if cartridge.problem:
        return cartridge.problem
    guard = cartridge.guard
    if guard and not guard.lets_in(facts.nearest):
        return (
            "CARTRIDGE_OFF_TOPIC",
            f"the question is too far from the corpus (cosine {facts.nearest:.2f}); above "
            f"{guard.threshold:.2f} at most {guard.alpha:.0%} of unrelated questions are let in",
        )
    if asks_for_figure(question):
        return (
            "EXACT_FIGURES",
            "the question asks for a figure or a table, which cartridges lose first; the text is read",
        )
    if cartridge.recovered < policy.recovered:
        return (
            "CARTRIDGE_WEAK",
            f"it recovers {cartridge.recovered:.0%} of full-context quality, "
            f"{policy.recovered:.0%} are asked; more tokens or more training would help",
        )
    return None


def _cartridge_id(route: Route, facts: Facts) -> str:
    return facts.cartridge.id if route is Route.CARTRIDGE and facts.cartridge else ""
