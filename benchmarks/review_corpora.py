"""Reviews of products whose sentences people marked with what they are about, and for or against."""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LABEL = re.compile(r"([^\[\],#]+?)\s*((?:\[[^\]]*\])+)")
_STANCE = re.compile(r"\[([+-])\d?\]")


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence of the review of that number, with its aspects and their stances, + or -."""

    review: int
    text: str
    aspects: tuple[tuple[str, str], ...]


def read_products(path: Path) -> Iterator[tuple[str, list[Remark]]]:
    """Every product's name and sentences, of the archive by Hu & Liu (2004) as NLTK has it."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".txt") and "README" not in name:
                yield Path(name).stem, list(_remarks(archive.read(name).decode("latin1")))


def _remarks(text: str) -> Iterator[Remark]:
    review = 0
    for line in text.splitlines():
        if line.startswith("[t]"):
            review += 1
        labels, mark, sentence = line.partition("##")
        if mark and sentence.strip() and not line.startswith("*"):
            yield Remark(review, " ".join(sentence.split()), tuple(_aspects(labels)))


def _aspects(labels: str) -> Iterator[tuple[str, str]]:
    for found in _LABEL.finditer(labels):
        name, stance = found.group(1).strip(" ,").lower(), _STANCE.search(found.group(2))
        if name and stance:
            yield name, stance.group(1)
