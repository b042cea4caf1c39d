"""A listing is read page by page, each record once and in order."""

import base64
import json

import pytest

from service.errors import ServiceError
from service.limits import Limits
from service.state.pages import Listing, read_page
from service.state.store import Store
from service.state.table import Table

THINGS = Table("things", {"by_size": lambda key, one: (one["owner"], one["size"], *key)})
NUMBERS = Listing("numbers", THINGS, "", (str,))
SIZES = Listing("sizes", THINGS, "by_size", (float, str), ("me",), descending=True)


@pytest.fixture(autouse=True)
def numbers(store: Store) -> None:
    for number in range(7):
        owner = "you" if number == 3 else "me"
        THINGS.put(store, (f"{number}",), {"id": f"{number}", "owner": owner, "size": number // 2})


@pytest.mark.parametrize(("listing", "order"), [(NUMBERS, "0123456"), (SIZES, "654210")])
def test_pages_hold_every_record_once_and_in_order(
    store: Store, listing: Listing, order: str
) -> None:
    seen, token, pages = "", "", 0
    while pages == 0 or token:
        records, token = read_page(store, listing, 3, token, Limits())
        seen += "".join(record["id"] for record in records)
        pages += 1
    assert seen == order
    assert pages == -(-len(order) // 3)


def test_a_page_is_never_larger_than_the_limit(store: Store) -> None:
    limits = Limits(default_page_size=2, max_page_size=4)
    assert len(read_page(store, NUMBERS, 0, "", limits)[0]) == 2
    assert len(read_page(store, NUMBERS, 1000, "", limits)[0]) == 4
    with pytest.raises(ServiceError, match="page_size: -1"):
        read_page(store, NUMBERS, -1, "", limits)


def token_of(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "!",
        "ä",
        "AAAA",
        token_of([]),
        token_of({"of": "numbers"}),
        token_of({"of": "other", "after": ["1"]}),
        token_of({"of": "numbers", "after": ["1", "2"]}),
        token_of({"of": "numbers", "after": [1.0]}),
        token_of({"of": "numbers", "after": ["\ud800"]}),
        token_of({"of": "numbers", "after": [{}]}),
        token_of({"of": "numbers", "after": [float("nan")]}),
        token_of({"of": "numbers", "after": 5}),
    ],
)
def test_a_foreign_page_token_is_refused(store: Store, token: str) -> None:
    with pytest.raises(ServiceError) as caught:
        read_page(store, NUMBERS, 3, token, Limits())
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


def test_a_page_token_with_a_number_that_is_none_is_refused(store: Store) -> None:
    for after in ([float("nan"), "1"], [1, "1"], ["1", 1.0], [True, "1"]):
        with pytest.raises(ServiceError, match="page_token"):
            read_page(store, SIZES, 3, token_of({"of": "sizes", "after": after}), Limits())
