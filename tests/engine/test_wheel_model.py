"""The default model itself, from its wheel."""

import pytest

from engine.answer_row import GenerationRequest
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prompts import Prompter
from engine.sampling import SamplingParams

pytestmark = pytest.mark.wheel
FACTS = ["The ferry leaves at 7.40 every morning.", "The lamp is green.", "Ann feeds the seals."]


def test_the_wheel_model_answers_from_a_prefix_as_from_the_whole_prompt(
    wheel_model: LanguageModel,
) -> None:
    prompter, params = Prompter(wheel_model), SamplingParams(max_tokens=24)
    context = prompter.context_ids(FACTS)
    question = tuple(prompter.question_ids("What colour is the lamp?"))
    prefix = wheel_model.prefill(context)

    answers = generate_text(
        wheel_model,
        [
            GenerationRequest("whole", (*context, *question), None, params),
            GenerationRequest("prefix", question, prefix, params),
        ],
    )

    assert answers[0] == answers[1]
    assert "green" in answers[0]


def test_the_wheel_model_keeps_the_fingerprint_that_its_calibration_is_filed_under(
    wheel_model: LanguageModel,
) -> None:
    from retrieval.heads import retrieval_heads

    heads = retrieval_heads(wheel_model)
    assert heads.calibrated
    assert max(heads.layers) < wheel_model.geometry.layers
