"""`longmemory evaluate router`: how the router did, from the answers that callers judged."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import (
    DEFAULT_DATA,
    DataOption,
    JsonOption,
    StateOption,
    errors_told,
    note,
    print_json,
    print_table,
)
from service.tokens import DEFAULT_TENANT

if TYPE_CHECKING:
    from service.routing.audit import Audit, Judged
    from service.state.outcomes_log import Outcome


def router(
    data: DataOption = DEFAULT_DATA,
    state: StateOption = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Whose answers.")] = DEFAULT_TENANT,
    as_json: JsonOption = False,
) -> None:
    """Say how the router did on answers that were judged; reads the state, asks nothing."""
    with errors_told(as_json):
        from service.config import Layout
        from service.routing.audit import audit
        from service.state.open_store import is_shared, open_store
        from service.state.outcomes_log import OutcomesLog, is_choice
        from service.tenants import Tenants

        path = Layout(data.expanduser()).database
        if not (is_shared(state) or path.exists()):
            raise ValueError(f"data: there is no service in {path.parent.name}; name its folder")
        store = open_store(state, path)
        try:
            outcomes = OutcomesLog(Tenants(store, path.parent).of(tenant).store)
            found = audit([_judged(one) for one in outcomes.judged() if is_choice(one)])
        finally:
            store.close()
    if as_json:
        print_json(asdict(found))
    else:
        _show(found)


def _judged(outcome: Outcome) -> Judged:
    from service.routing.audit import Judged

    terms = {str(one["route"]): one for one in outcome.options}
    promises = {
        route: float(str(one["quality"]))
        for route, one in terms.items()
        if not one["closed"] or route == outcome.route
    }
    return Judged(
        outcome.kind, outcome.route, promises, outcome.propensity,
        float(str(terms[outcome.route]["p50"])), outcome.seconds, bool(outcome.is_good),
    )  # fmt: skip


def _show(found: Audit) -> None:
    rows = [
        (
            one.route,
            str(one.answers),
            f"{one.right:.0%}",
            f"{one.promised:.0%}",
            f"{one.predicted_seconds:.1f} s",
            f"{one.seconds:.1f} s",
            f"{found.always[one.route]:.0%}",
        )
        for one in found.routes
    ]
    print_table(
        ("route", "judged", "right", "promised", "predicted", "taken", "always taken"), rows
    )
    typer.echo()
    note(
        f"{found.right:.0%} of {found.answers} answers were right; promises were off by "
        f"{found.ece:.2f} (Brier {found.brier:.3f})"
    )
