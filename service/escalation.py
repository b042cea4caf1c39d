"""One second try, by the runner-up, of an answer that the text does not tell what it likely tells.

A refusal is mostly right (of unanswerable questions models refuse most, of others few), so it is doubted
only where the corpus likely tells by the same line that declining goes by. What was sent is never taken
back: the first words wait while they may still become a refusal, and nothing waits where none can come.
"""

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from service.answers import AnswerEvent, Decision, Delta, Fallback, Option, Route, Summary

ESCALATED = "ESCALATED"
DOUBT = 0.25  # chance that the corpus does not tell, up to which a refusal is doubted
MOST_HELD = 160  # characters that wait at most
_READS = (Route.CRAG, Route.INFINI_RETRI, Route.FULL_CONTEXT, Route.CARTRIDGE)
_OPENERS = (
    "the text", "the passage", "the provided", "the given", "the document", "the context",
    "the evidence", "there is no", "no information", "it is not", "i do", "i can", "i'm", "i am",
    "sorry", "unfortunately", "based on the", "according to the", "this text", "this passage",
)  # fmt: skip
_REFUSAL = re.compile(
    r"\b(do|does|did|is|are|was)( not|n.t) ([a-z]+ ){0,2}"
    r"(say|tell|mention|state|provide|specify|contain|give|include|answer|know)|"
    r"\bno (information|mention|answer)\b|\b(cannot|can.t|unable to) (be )?(answer|tell|say|determine)",
    re.IGNORECASE,
)


def second_route(decision: Decision) -> Option | None:
    """The route that would have a refusal's second try: the best open one that reads and was not taken.

    None where a caller asked for the route, where the corpus likely does not tell, or none is open.
    """
    if decision.requested is not Route.AUTO or decision.route not in _READS:
        return None
    untold = next((one.quality for one in decision.options if one.route is Route.DECLINE), 0.0)
    if untold > DOUBT:
        return None
    left = (one for one in decision.options if not one.closed and one.route is not decision.route)
    return next((one for one in left if one.route in _READS), None)


def is_refusal(text: str) -> bool:
    """Whether an answer begins by saying that the text does not tell."""
    return _may_begin(text) and bool(_REFUSAL.search(text))


def is_open(text: str) -> bool:
    """Whether the first words of an answer may still become a refusal."""
    is_over = len(text) >= MOST_HELD or "\n" in text.strip() or bool(re.search(r"[.!?]\s", text))
    return _may_begin(text) and not is_over and not _REFUSAL.search(text)


async def opening(events: AsyncIterator[AnswerEvent]) -> list[AnswerEvent]:
    """The events of an answer up to where it is known whether it refuses."""
    held: list[AnswerEvent] = []
    async for event in events:
        held.append(event)
        if isinstance(event, Summary) or not is_open(text_of(held)):
            break
    return held


def text_of(events: Sequence[AnswerEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def escalated(first: Decision, second: Decision) -> Decision:
    """The decision of a second try; it keeps the terms and the chance of the first."""
    refused = f"{first.route.value} said that the text does not tell, which it likely does"
    return replace(
        second,
        requested=first.requested,
        reason=ESCALATED,
        explanation=f"{refused}; {second.route.value} was next: {first.explanation}",
        options=first.options,
        fallbacks=(*first.fallbacks, Fallback(first.route, "REFUSED", refused)),
        propensity=first.propensity,
    )


def is_due(second: Option, held: Sequence[AnswerEvent], deadline: float | None) -> bool:
    """Whether an answer refuses and its second try is sure to end by a deadline, in `time.monotonic()`
    seconds.
    """
    in_time = deadline is None or time.monotonic() + second.p95 <= deadline
    return in_time and is_refusal(text_of(held))


async def with_spent(
    attempt: AsyncGenerator[AnswerEvent], prompt_tokens: int, held: Sequence[AnswerEvent]
) -> AsyncGenerator[AnswerEvent]:
    """The events of a second try, whose usage has the tokens of the first one too."""
    wasted = sum(len(event.token_ids) for event in held if isinstance(event, Delta))
    async with aclosing(attempt) as events:
        async for event in events:
            if isinstance(event, Summary):
                usage = replace(
                    event.usage,
                    prompt_tokens=event.usage.prompt_tokens + prompt_tokens,
                    output_tokens=event.usage.output_tokens + wasted,
                )
                event = replace(event, usage=usage)
            yield event


def _may_begin(text: str) -> bool:
    begun = text.lstrip().lower()
    return any(begun.startswith(one) or one.startswith(begun) for one in _OPENERS)
