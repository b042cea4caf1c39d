"""The metrics page read from outside: its values by name and labels, and what follows from them."""

from __future__ import annotations

import http.client
import math
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_PATIENCE = 5.0  # seconds
_MOST_BYTES = 4 * 1024**2

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a page; `time` in monotonic seconds."""

    time: float
    values: Mapping[str, Mapping[Labels, float]]

    def one(self, name: str, **labels: str) -> float:
        """A value by its name and labels; 0 where it is not there."""
        return self.values.get(name, {}).get(frozenset(labels.items()), 0.0)

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums of a name's values by one of its labels, those of 0 left out."""
        sums: dict[str, float] = {}
        for labels, value in self.values.get(name, {}).items():
            key = dict(labels).get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return {key: value for key, value in sums.items() if value}

    def quantile(self, share: float, name: str, **labels: str) -> float | None:
        """Where a histogram's share of observations lies below, in a line between its bucket's ends;
        None where nothing was observed.
        """
        wanted = set(labels.items())
        counts: dict[float, float] = {}
        for found, value in self.values.get(f"{name}_bucket", {}).items():
            if wanted <= found:
                end = float(dict(found)["le"])
                counts[end] = counts.get(end, 0.0) + value
        total = counts.get(math.inf, 0.0)
        if not total:
            return None
        start, below = 0.0, 0.0
        for end in sorted(counts):
            if counts[end] >= share * total:
                if math.isinf(end):
                    return start
                return start + (end - start) * (share * total - below) / (counts[end] - below)
            start, below = end, counts[end]
        return start


def read_page(url: str) -> Reading:
    """Looks at a page, named by its address or as HOST:PORT.

    Raises OSError with the mend where nothing answers, and where what answers is no metrics page.
    """
    full = url if url.startswith("http://") else f"http://{url}/metrics"
    try:
        with urllib.request.urlopen(full, timeout=_PATIENCE) as answer:
            text = answer.read(_MOST_BYTES).decode("utf-8")
        families = list(text_string_to_metric_families(text))
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException, ValueError) as error:
        raise OSError(
            f"no metrics page answers at {full} ({error}); start `longmemory serve --metrics "
            "HOST:PORT`, or name the page with --metrics"
        ) from error
    values: dict[str, dict[Labels, float]] = {}
    for family in families:
        for sample in family.samples:
            values.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Reading(time.monotonic(), values)
