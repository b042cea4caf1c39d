"""What kind of thing a question asks for, by its words: one place, several, the whole, or a figure."""

import re
from enum import StrEnum

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

_OVERVIEW = re.compile(
    r"\b(summari[sz]e|(give|write|make|provide|show|need|want)\b.{0,40}\b(summary|overview)|"
    r"(summary|overview) of (this|the) (whole )?(text|corpus|document|book|handbook)|"
    r"what (is|are) (this|the) (text|corpus|document|book|handbook)s? about)\b|"
    r"^\W*(an? )?(short |brief )?(summary|overview)\b",
    re.IGNORECASE,
)
# Words that speak for an overview where nothing else is asked for.
_ON_THE_WHOLE = re.compile(
    r"\bmain (points|topics|ideas|themes)\b|^\W*(overall|in general)\b|\b(overall|in general)\W*$",
    re.IGNORECASE,
)
_FIGURE = re.compile(
    r"\b(how (many|much|long|far|old|often|tall|high|deep|wide|heavy)|what (year|date|time|number|"
    r"percentage|amount|price|phone|size)|price|costs?|table|per ?cent)\b",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(texts?|corpus|documents?|books?|handbook|files?|contents?|whole|give|tell|write|make|list|please|"
    r"short|brief(ly)?|words?|sentences?)"
)


_COMPARISON = re.compile(
    r"\b(compar\w+|differences?|differ|versus|vs\.?|(both|either) .+ (and|or)|more .+ than|"
    r"(better|worse|older|larger|smaller|longer|earlier|later|higher|lower) than)\b",
    re.IGNORECASE,
)
_COUNT = re.compile(
    r"\b(how many|number of|count|list (all|every|each)|which .+ are there)\b", re.IGNORECASE
)
_TIME = re.compile(
    r"(^\W*(since |until |till |by )?when\b|\b(what (year|date|time|day|month)|"
    r"(in|on|at) (which|what) (year|date|day|month)|how (long|old))\b)",
    re.IGNORECASE,
)


class Kind(StrEnum):
    """What an answer has to be made of."""

    LOOKUP = "lookup"  # one place
    COMPARISON = "comparison"  # several places, set against each other
    OVERVIEW = "overview"  # the whole
    COUNT = "count"  # every place
    TEMPORAL = "temporal"
    NUMERIC = "numeric"


def kind_of(question: str) -> Kind:
    """The first that its words speak for; a lookup where none does."""
    for kind, words in (
        (Kind.OVERVIEW, _OVERVIEW),
        (Kind.COUNT, _COUNT),
        (Kind.COMPARISON, _COMPARISON),
        (Kind.TEMPORAL, _TIME),
        (Kind.NUMERIC, _FIGURE),
        (Kind.OVERVIEW, _ON_THE_WHOLE),
    ):
        if words.search(question):
            return kind
    return Kind.LOOKUP


def asks_for_overview(question: str) -> bool:
    """Whether it is about the whole rather than about one place."""
    return kind_of(question) is Kind.OVERVIEW


def names_nothing(question: str) -> bool:
    """Whether an overview is asked of nothing in particular, so that no sentence can be near to it."""
    if not asks_for_overview(question):
        return False
    words = re.findall(r"[^\W\d_]+", _ON_THE_WHOLE.sub(" ", _OVERVIEW.sub(" ", question)).lower())
    return all(word in ENGLISH_STOP_WORDS or _FILLER.fullmatch(word) for word in words)
