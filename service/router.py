"""Decides on routes with what is known now, and learns from what came of it."""

import random
import uuid
from dataclasses import asdict, replace

from service.answers import Decision, Question, Route, Usage
from service.errors import fail
from service.routing.choice import RoutingPolicy, choose, explored
from service.routing.facts import Facts
from service.routing.gates import obstacle
from service.routing.quality import QualityModel, Verdicts
from service.state.outcomes_log import Outcome, OutcomesLog
from service.timings import Timings


class Router:
    """The policy with its models. Deciding is pure but for reading callers' verdicts."""

    def __init__(
        self, policy: RoutingPolicy, quality: QualityModel, timings: Timings, log: OutcomesLog
    ) -> None:
        self._policy, self._quality = policy, quality
        self._timings, self._log = timings, log
        self._chance = random.Random()

    def decide(self, question: Question, facts: Facts) -> Decision:
        """The route of a question, under a new id.

        Raises:
            ServiceError: what stands in the way of the route that was asked for.
        """
        if blocked := obstacle(question.route, facts):
            raise fail(*blocked, field="route")
        judged = self._log.verdicts(question.corpus_id, facts.kind.value)
        verdicts = {Route(name): Verdicts(*counts) for name, counts in judged.items()}
        decision = choose(
            question.route, facts, self._policy, self._quality, self._timings.costs, verdicts
        )
        taken = explored(decision, self._policy.explore, self._chance)
        if taken.route is Route.CARTRIDGE and facts.cartridge:
            taken = replace(taken, cartridge_id=facts.cartridge.id)
        return replace(taken, id=uuid.uuid4().hex)

    def learn(self, question: Question, decision: Decision, facts: Facts, usage: Usage) -> None:
        """From an answer that came to its end; blocks on the database."""
        self._timings.learn(decision.route, facts, usage, question.reading)
        terms = {option.route: option for option in decision.options}
        self._log.add(
            Outcome(
                decision.id,
                question.corpus_id,
                facts.kind.value,
                decision.route.value,
                decision.reason,
                terms[decision.route].quality,
                [asdict(option) for option in decision.options],
                usage.total_seconds,
                usage.prompt_tokens,
                decision.propensity,
            )
        )
