"""How much work a cartridge is worth: three recipes, from minutes to an hour."""

from dataclasses import replace
from enum import StrEnum

from cartridges.build import BuildSettings
from cartridges.distil import DistilSettings
from cartridges.match import MatchSettings
from cartridges.seeds import KINDS
from cartridges.self_study import StudySettings

FAST_SECONDS = 540.0  # what is left of ten minutes goes to measuring


class Effort(StrEnum):
    """`instant` asks some questions to measure by, fits a closed form and takes thirty steps from it;
    `fast` studies and distils within `FAST_SECONDS` a part; `thorough` studies with every kind of
    request and distils until it stops getting better.
    """

    INSTANT = "instant"
    FAST = "fast"
    THOROUGH = "thorough"


def settings_for(effort: Effort, seed: int = 0) -> BuildSettings:
    """The recipe of an effort; the same seed gives the same cartridge.

    What is studied in `fast` is mostly for measuring: trained on quotations alone the default model
    recovers as much of questions that it never saw (benchmarks/cartridges).
    """
    study = StudySettings(seed=seed, most=64, most_quoted=256)
    match = MatchSettings(seed=seed)
    if effort is Effort.INSTANT:
        return BuildSettings(
            study=replace(study, most=32),
            match=replace(match, steps=0),
            distil=DistilSettings(steps=30, rate=0.03, evaluate=10, seed=seed),
        )
    if effort is Effort.FAST:
        distil = DistilSettings(seed=seed)
        return BuildSettings(study=study, match=match, distil=distil, seconds=FAST_SECONDS)
    return BuildSettings(
        study=replace(study, kinds=KINDS, a_sentence=4.0, most=1024, most_quoted=4096),
        match=replace(match, steps=300, queries=16384),
        distil=DistilSettings(steps=2000, batch=8, patience=6, seed=seed),
    )
