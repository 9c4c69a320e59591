"""What may be asked of generate: a prompt or messages, and nothing that no model could do."""

import pytest
from pydantic import ValidationError

from tasks.generate import Inputs, Params, Result
from tasks.registry import contract

TURN = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "either a prompt or messages"),
        ({"prompt": "Once", "messages": [TURN]}, "not both"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
        ({"messages": [{**TURN, "name": "x"}]}, "name"),
        ({"prompt": None}, "prompt"),
        ({"messages": None}, "messages"),
    ],
)
def test_exactly_one_of_prompt_and_messages_is_asked_for(given, fault):
    """And a conversation has turns, of the three roles; null is no way to leave something out."""
    with pytest.raises(ValidationError, match=fault):
        Inputs.model_validate(given)


@pytest.mark.parametrize(
    "given", [{"prompt": "Once"}, {"prompt": {"url": "https://example.com/a.txt"}}, {"messages": [TURN]}]
)
def test_one_of_them_is_enough(given):
    """And comes back as it was given, with nothing beside it."""
    assert Inputs.model_validate(given).model_dump(exclude_unset=True) == given


BLANK = [
    "",
    " \n\t",
    "\ufeff",
    "\ufeff\ufeff \u200b",
    "\x00\x07\x1b",
    "\u00ad\u2060\u200d",
    "\u3164\u2800",
    "\u3000\u2028",
]


@pytest.mark.parametrize("text", BLANK, ids=ascii)
def test_a_text_in_which_nothing_can_be_seen_is_refused(text):
    """As a prompt and as a whole conversation; one turn of a conversation may be empty."""
    with pytest.raises(ValidationError, match="the prompt is empty: give"):
        Inputs.model_validate({"prompt": text})
    with pytest.raises(ValidationError, match="the conversation is empty: give"):
        Inputs.model_validate({"messages": [{**TURN, "content": text}] * 2})
    Inputs.model_validate({"messages": [TURN, {"role": "assistant", "content": text}]})


@pytest.mark.parametrize("text", ["\ufeffa", " . ", "\u0301e", "雪", "🎬", "\u200bא", "\ufffd"], ids=ascii)
def test_a_text_of_one_character_is_enough(text):
    assert Inputs.model_validate({"prompt": text}).prompt == text


@pytest.mark.parametrize(
    "given",
    [
        {"n": 0},
        {"n": 17},
        {"repetition_penalty": 0},
        {"stop": [""]},
        {"stop": ["x"] * 5},
        {"mode": "chat"},
        {"on_long_prompt": "ignore"},
        {"seed": -1},
        {"max_tokens": 2049},
    ],
)
def test_params_out_of_their_range_are_refused(given):
    with pytest.raises(ValidationError):
        Params.model_validate(given)


def test_what_to_do_with_a_long_prompt_is_asked_of_models_with_a_context_alone():
    """Recurrent ones have none to overflow, so a caller who sets it there is told."""
    known = contract("generate")
    assert [name for name in ("lstm", "rnn", "transformer", "hf") if "on_long_prompt" in known.foreign(name)] == [
        "lstm",
        "rnn",
    ]


def test_a_result_is_texts_or_a_vector():
    """Both modes fit the one contract."""
    usage = {"prompt_tokens": 1, "completion_tokens": 0}
    assert Result.model_validate({"embedding": [1.0, 0.0], "usage": usage}).text is None
    choice = {"text": "x", "finish_reason": "stop"}
    assert Result.model_validate({**choice, "choices": [choice], "usage": usage}).embedding is None
