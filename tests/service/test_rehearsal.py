"""A corpus' own questions move what its routes promise for lookups, one route against another."""

from dataclasses import replace
from pathlib import Path

import pytest

from retrieval.question_kind import Kind
from retrieval.survey import Survey
from service.answers import Route
from service.routing.choice import RoutingPolicy, choose
from service.routing.costs import CostModel
from service.routing.facts import Facts
from service.routing.quality import QualityModel
from service.routing.rehearsal import PRIOR_QUESTIONS, Rehearsal, Tried
from service.state.catalog import Catalog
from service.state.catalogs import Catalogs

ATTENTION_WON = Rehearsal(18, 18, (Tried("crag", 4, 0.3), Tried("infini_retri", 16, 0.9)))
FACTS = Facts(100_000, 1000, survey=Survey(3, nearest=0.6, known=1.0), sentences=4000, asked=20)


def chances(facts: Facts) -> dict[Route, float]:
    quality = QualityModel()
    return {one: quality.expected(one, facts) for one in (Route.CRAG, Route.INFINI_RETRI)}


def test_a_route_that_told_more_of_the_corpus_own_answers_is_promised_more() -> None:
    moved = chances(replace(FACTS, rehearsal=ATTENTION_WON))
    assert moved[Route.INFINI_RETRI] > 0.6 > 0.4 > moved[Route.CRAG]


def test_easy_questions_raise_no_promise_where_all_routes_tell_them() -> None:
    easy = Rehearsal(18, 18, (Tried("crag", 18, 1.0), Tried("infini_retri", 18, 1.0)))
    assert chances(replace(FACTS, rehearsal=easy)) == chances(FACTS)


def test_as_many_questions_as_the_prior_move_a_route_half_the_way() -> None:
    count = int(PRIOR_QUESTIONS)
    asked = Rehearsal(count, count, (Tried("crag", 0, 0.0), Tried("infini_retri", count, 1.0)))
    told = (count + 1) / (count + 2)
    moved = asked.moved({"crag": 0.5, "infini_retri": 0.5})
    assert moved["infini_retri"] == pytest.approx(0.5 + 0.5 * (told - 0.5))


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.LOOKUP])
def test_lookups_say_nothing_about_other_kinds_of_questions(kind: Kind) -> None:
    facts = replace(FACTS, kind=kind)
    assert chances(replace(facts, rehearsal=ATTENTION_WON)) == chances(facts)


def test_a_route_that_was_not_tried_is_promised_what_it_was() -> None:
    quality = QualityModel()
    rehearsed = replace(FACTS, rehearsal=ATTENTION_WON)
    for route in (Route.CARTRIDGE, Route.NONE, Route.DECLINE):
        assert quality.expected(route, rehearsed) == quality.expected(route, FACTS)


def test_the_decision_tells_of_the_rehearsal() -> None:
    facts = replace(FACTS, rehearsal=ATTENTION_WON)
    policy = RoutingPolicy(a_second=0.0, a_thousand_tokens=0.0)
    decision = choose(Route.AUTO, facts, policy, QualityModel(), CostModel())
    assert decision.route is Route.INFINI_RETRI
    assert "rehearsed on this corpus, it told 16 of 18 answers" in decision.explanation
    assert decision.signals["rehearsed_questions"] == 18


def test_a_catalog_keeps_its_rehearsal_and_one_without_is_read(tmp_path: Path) -> None:
    catalogs = Catalogs(tmp_path)
    bare = Catalog("a" * 64, "recipe", 7, 2, ())
    for catalog in (bare, replace(bare, rehearsal=replace(ATTENTION_WON, lexical=0.5))):
        catalogs.put("books", catalog)
        assert catalogs.get("books", "recipe", "a" * 64) == catalog
