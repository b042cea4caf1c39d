"""Only sound conversations are kept, and what a kill tore does no harm."""

from pathlib import Path

import pytest

from cartridges.conversations import (
    Conversation,
    append_conversations,
    distinct,
    mention,
    parse_completion,
    read_conversations,
    recitation,
)
from cartridges.seeds import load_seeds
from engine.model import LanguageModel
from engine.prompts import Prompter

QUESTION, STRUCTURING, *_ = load_seeds()
SOURCE = "The ferry left at 6:40 with 1,200 crates, 3.5 tonnes in all."


@pytest.mark.parametrize(
    "text",
    [
        " When did the ferry leave?\nAnswer: The ferry left at 6:40.",
        "What did it carry?  Answer:   3.5 tonnes,\n1,200 crates. ",
        "Did the ferry leave?\nAnswer: Yes",
        "Wie viel wog die Fähre — 漢字?\nAnswer: Über drei Tonnen.",
    ],
)
def test_a_sound_completion_is_a_conversation(text: str) -> None:
    found = parse_completion(QUESTION, 7, text, SOURCE)

    assert found is not None
    question, answer = text.split("Answer:")
    assert (found.sentence, found.gain) == (7, 0.0)
    assert found.question == " ".join(question.split())
    assert found.answer == " ".join(answer.split())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("When did it leave\nAnswer: At 6:40.", "asks nothing"),
        ("When did it leave?", "no answer"),
        ("When did it leave?\nAnswer: ", "empty answer"),
        ("\nAnswer: At 6:40.", "empty question"),
        ("", "empty"),
        ("When did it leave?\nAnswer: At 7:40.", "a number that the sentence lacks"),
        ("What did it carry?\nAnswer: 3 tonnes.", "a number's part is another number"),
        ("Did 12 people leave?\nAnswer: Yes, they did.", "an invented number asked about"),
        ("Did 12 people leave?\nAnswer: Yes, 12 people left.", "an invented number repeated"),
        ("When did it leave?\nAnswer: " + "so " * 61, "an answer without end"),
    ],
)
def test_an_unsound_completion_is_none(text: str, why: str) -> None:
    assert parse_completion(QUESTION, 0, text, SOURCE) is None, why


def test_a_request_need_not_ask_but_has_words() -> None:
    text = " List what the ferry carried.\nAnswer: Crates: 1,200; tonnes: 3.5."
    found = parse_completion(STRUCTURING, 4, text, SOURCE)

    assert found == Conversation(
        4, "List what the ferry carried.", "Crates: 1,200; tonnes: 3.5.", kind="structuring"
    )
    assert parse_completion(QUESTION, 4, text, SOURCE) is None
    assert parse_completion(STRUCTURING, 4, "List it.\nAnswer: Crates.", SOURCE) is None


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("The captain of the Grey Petrel is Isolde Brackwater.", "Grey and Petrel"),
        ("On Friday (at noon) eel pie is served.", "Friday"),
        ("Drones are forbidden on the island.", "Drones are forbidden on"),
    ],
)
def test_a_mention_names_what_its_sentence_names(text: str, subject: str) -> None:
    found = mention(2, text)
    assert found is not None
    assert found.question == f"What does the text say about {subject}?"
    assert (found.answer, found.is_quoted) == (text, True)
    assert mention(2, "Too short to say.") is None


def test_a_recitation_quotes_its_sentence_and_shows_less_than_half_of_it() -> None:
    text = "The  canteen cook serves smoked\neel pie every Friday."
    found = recitation(3, text)

    assert found is not None
    assert found.answer == " ".join(text.split())
    assert '"The canteen cook"' in found.question
    assert found.question.endswith("?")
    assert recitation(3, "Too short to quote.") is None


def test_questions_that_differ_in_case_and_marks_alone_are_one() -> None:
    first = Conversation(1, "Who sails?", "Jonas.")
    others = [
        Conversation(2, "WHO  sails ?", "Isolde."),
        Conversation(3, "Who, sails?", "Silas."),
        Conversation(4, "Who sailed?", "Jonas."),
        Conversation(5, "誰ですか？?", "Jonas."),
    ]
    assert distinct([first, *others]) == [first, others[2], others[3]]


WRITTEN = [
    Conversation(1, "Who?", "Jonas — “the captain”.", 0.25),
    Conversation(2, "何?", "漢字\u2028\u0085 and\nlines.", -1.5),
    Conversation(3, "When?", "At dawn.", 1e-9),
]


def test_conversations_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "conversations.jsonl"
    assert read_conversations(path) == []
    append_conversations(path, WRITTEN[:1])
    append_conversations(path, [])
    append_conversations(path, WRITTEN[1:])
    assert read_conversations(path) == WRITTEN


def test_a_last_line_torn_at_any_byte_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "conversations.jsonl"
    append_conversations(path, WRITTEN[:1])
    whole = path.stat().st_size
    append_conversations(path, WRITTEN[1:2])
    data = path.read_bytes()
    for cut in range(whole, len(data)):
        path.write_bytes(data[:cut])
        assert read_conversations(path) == WRITTEN[:1]


def test_what_is_written_behind_a_torn_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "conversations.jsonl"
    append_conversations(path, WRITTEN[:1])
    whole = path.stat().st_size
    append_conversations(path, WRITTEN[1:2])
    data = path.read_bytes()
    for cut in range(whole, len(data)):
        path.write_bytes(data[:cut])
        append_conversations(path, WRITTEN[1:])
        assert read_conversations(path) == WRITTEN


def test_a_turn_is_the_prompt_behind_a_context_and_ends_with_the_stop_token(
    model: LanguageModel,
) -> None:
    prompter = Prompter(model)
    turn = WRITTEN[0].turn(prompter)

    assert list(turn.question) == prompter.question_ids("Who?")
    assert list(turn.answer[:-1]) == prompter.answer_ids(WRITTEN[0].answer)
    assert turn.answer[-1] in model.stop_ids
