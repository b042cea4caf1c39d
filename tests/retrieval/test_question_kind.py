"""What a question asks for, told by its words."""

import pytest

from retrieval.question_kind import Kind, asks_for_overview, kind_of, names_nothing


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Who keeps the lamp?", Kind.LOOKUP),
        ("What happens when the lamp fails?", Kind.LOOKUP),
        ("Summarise the text.", Kind.OVERVIEW),
        ("What is the book about?", Kind.OVERVIEW),
        ("Overall, what do buyers dislike?", Kind.OVERVIEW),
        ("What are the main points?", Kind.OVERVIEW),
        ("What do buyers dislike in general?", Kind.OVERVIEW),
        ("Give me a short summary of the history of Rome.", Kind.OVERVIEW),
        ("Can you summarize it?", Kind.OVERVIEW),
        ("A brief overview, please", Kind.OVERVIEW),
        ("Who wrote the summary?", Kind.LOOKUP),
        ("Where is the overview map?", Kind.LOOKUP),
        ("Who is the general in charge of the overall plan?", Kind.LOOKUP),
        ("What was the overall budget?", Kind.LOOKUP),
        ("Overall, how many keepers are there?", Kind.COUNT),
        ("When was the summary published?", Kind.TEMPORAL),
        ("How much did it cost overall?", Kind.NUMERIC),
        ("How many main points are there?", Kind.COUNT),
        ("How does the Marigold differ from the Petrel?", Kind.COMPARISON),
        ("Which ship is older than the Marigold?", Kind.COMPARISON),
        ("How many keepers are there?", Kind.COUNT),
        ("List all keepers.", Kind.COUNT),
        ("When does the ferry sail?", Kind.TEMPORAL),
        ("Until when is it open?", Kind.TEMPORAL),
        ("In which year was it founded?", Kind.TEMPORAL),
        ("How old is the tower?", Kind.TEMPORAL),
        ("What does a ticket cost?", Kind.NUMERIC),
        ("Show the table of fares.", Kind.NUMERIC),
        ("How tall is the tower?", Kind.NUMERIC),
        ("", Kind.LOOKUP),
    ],
)
def test_kinds(question: str, kind: Kind) -> None:
    assert kind_of(question) is kind
    assert asks_for_overview(question) == (kind is Kind.OVERVIEW)


@pytest.mark.parametrize(
    ("question", "nothing"),
    [
        ("Summarise the text.", True),
        ("Please give me a short overview of the whole document.", True),
        ("Summarise the history of Rome.", False),
        ("Give an overview of the ferries.", False),
    ],
)
def test_an_overview_of_nothing_in_particular(question: str, nothing: bool) -> None:
    assert names_nothing(question) == nothing
