"""What shuts a route out, each with a stable reason and a sentence with the mend. Pure."""

from dataclasses import dataclass

from retrieval.question_kind import Kind
from service.answers import Route
from service.routing.costs import Estimate
from service.routing.facts import CartridgeFacts, Facts


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Cosines are of the default embedder. A question is off topic where no sentence is nearer than
    `off_topic`, `off_topic_overview` for one about the whole, and it stands less than `standing`
    deviations above questions about nothing in particular: nineteen of twenty of those do.
    """

    off_topic: float = 0.45
    off_topic_overview: float = 0.30
    standing: float = 1.645
    recovered: float = 0.50  # share of full-context quality below which no cartridge is asked
    stale: float = 0.0  # share of windows that may have changed since a cartridge was trained
    decline_above: float = 0.40  # chance that the corpus does not tell, above which that is said

    def __post_init__(self) -> None:
        cosines = self.off_topic, self.off_topic_overview
        if not all(-1.0 <= one <= 1.0 for one in cosines) or not self.recovered <= 1.0:
            raise ValueError("off_topic must be a cosine, and recovered a share")
        if not 0.0 <= self.stale <= 1.0:
            raise ValueError(f"stale is {self.stale}; it is a share, from 0 to 1")
        if not 0.0 <= self.decline_above <= 1.0:
            raise ValueError(f"decline_above is {self.decline_above}; it is a chance, from 0 to 1")


def obstacle(route: Route, facts: Facts) -> tuple[str, str] | None:
    """Why a route cannot run at all, whoever asks for it; None where it can."""
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


def is_off_topic(facts: Facts, settings: GateSettings) -> bool:
    """Whether nothing in the corpus comes near; an overview that names nothing is of the corpus."""
    is_overview = facts.kind is Kind.OVERVIEW
    least = settings.off_topic_overview if is_overview else settings.off_topic
    found = facts.survey
    return found.nearest < least and found.standing < settings.standing and not facts.is_nameless


def closed(
    route: Route, facts: Facts, settings: GateSettings, cost: Estimate, likely: float
) -> tuple[str, str] | None:
    """Why the router does not take a route by itself; `likely` is how likely its answer is right."""
    if blocked := obstacle(route, facts):
        return blocked
    if route is Route.DECLINE:
        return _undeclined(likely, facts, settings)
    off_topic = is_off_topic(facts, settings)
    if route is Route.NONE and not off_topic:
        return "ON_TOPIC", "the corpus speaks of what is asked, so it is not left unread"
    if route is not Route.NONE and off_topic:
        return (
            "OFF_TOPIC",
            f"no sentence of the corpus comes near the question: cosine {facts.survey.nearest:.2f}, "
            f"{facts.survey.standing:.1f} deviations above unrelated questions "
            f"({settings.standing} asked)",
        )
    cartridge = facts.cartridge if route is Route.CARTRIDGE else None
    if cartridge and (weakness := _weakness(facts, cartridge, settings)):
        return weakness
    if facts.seconds_left is not None and cost.p95 > facts.seconds_left:
        return (
            "DEADLINE_TOO_SHORT",
            f"it may take {cost.p95:.1f} s and {max(0.0, facts.seconds_left):.1f} s are left",
        )
    return None


def _undeclined(likely: float, facts: Facts, settings: GateSettings) -> tuple[str, str] | None:
    if facts.kind is Kind.OVERVIEW:
        return "OVERVIEW", "every text tells something of the whole"
    if facts.corpus_tokens <= facts.evidence and not is_off_topic(facts, settings):
        # How a hit stands out from others says nothing of a few sentences.
        return "SHORT_TEXT", "the whole text fits beside the question, so it is read"
    if likely <= settings.decline_above:
        return (
            "LIKELY_TOLD",
            f"it is {likely:.0%} likely that the corpus does not tell; above "
            f"{settings.decline_above:.0%} that is the answer",
        )
    return None


def _weakness(
    facts: Facts, cartridge: CartridgeFacts, settings: GateSettings
) -> tuple[str, str] | None:
    guard = cartridge.guard
    # A question about the whole that names nothing of it is near to no sentence of any corpus.
    if guard and not facts.is_nameless and not guard.lets_in(facts.survey.nearest):
        return (
            "CARTRIDGE_OFF_TOPIC",
            f"the question is too far from the corpus (cosine {facts.survey.nearest:.2f}); above "
            f"{guard.threshold:.2f} at most {guard.alpha:.0%} of unrelated questions are let in",
        )
    if facts.kind in (Kind.NUMERIC, Kind.COUNT, Kind.TEMPORAL):
        return (
            "EXACT_FIGURES",
            "the question asks for a figure or a table, which cartridges lose first; the text is read",
        )
    if cartridge.recovered < settings.recovered:
        return (
            "CARTRIDGE_WEAK",
            f"it recovers {cartridge.recovered:.0%} of full-context quality, "
            f"{settings.recovered:.0%} are asked; more tokens or more training would help",
        )
    return None
