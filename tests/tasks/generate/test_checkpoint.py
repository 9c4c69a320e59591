"""A text that was stopped goes on from the tokens it had saved, and is the text that nothing had stopped."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks.algorithm import Call, load
from tasks.errors import Canceled
from tasks.generate import lstm, transformer, writing
from tasks.generate.vocabulary import Vocabulary
from tests.tasks.generate.test_lstm import weights
from tests.tasks.generate.test_transformer import STORY, network

EVERY = 4  # passes between two saves
LONG = "the old man went down to the sea and " * 30  # as many tokens as the transformer's context has, and more
PARAMS = [{}, {"temperature": 0}, {"n": 2}, {"repetition_penalty": 1.3, "top_k": 20}, {"stop": ["qq"], "top_p": 0.9}]


@pytest.fixture(scope="module")
def models():
    """Random weights over 300 tokens, whose babble depends on all that was read; stories is a real one, through hf."""
    vocabulary = Vocabulary.learn([STORY], 300)
    return {
        "lstm": lstm.Model(lstm.Network(weights(300), "cpu"), vocabulary),
        "transformer": transformer.Model(network(), vocabulary),
        "stories": load("generate", "stories"),
    }


@pytest.fixture(params=["lstm", "transformer", "stories"])
def model(models, request):
    return models[request.param]


@pytest.fixture(autouse=True)
def chosen(monkeypatch) -> list[int]:
    """Every token that was chosen, and not only read again."""
    tokens: list[int] = []

    def choose(*given):
        tokens.append(choose_as_ever(*given))
        return tokens[-1]

    choose_as_ever = writing.choose
    monkeypatch.setattr(writing, "choose", choose)
    monkeypatch.setattr(writing, "SAVE_EVERY", EVERY)
    return tokens


def call(
    saved: bytes | None = None,
    save: Callable[[bytes], None] = lambda data: None,
    prompt="It was a dark night",
    **params,
) -> Call:
    usual = {"max_tokens": 20, "seed": 7}
    return replace(Call.of("generate", {**usual, **params}, prompt=prompt), saved=lambda: saved, save=save)


def stopped(model, saves_before: int = 2, **params) -> bytes:
    """What a run that is canceled after so many saves had saved last."""
    saves: list[bytes] = []
    begun = replace(call(save=saves.append, **params), canceled=lambda: len(saves) == saves_before)
    (outcome,) = model.run([begun])
    assert isinstance(outcome, Canceled)
    return saves[-1]


def tokens_in(saved: bytes) -> int:
    return sum(map(len, json.loads(saved)["choices"]))


def check_it_goes_on(model, chosen: list[int], **params) -> None:
    """Only what had not been written is chosen."""
    (undisturbed,) = model.run([call(**params)])
    all_of_it = len(chosen)
    saved = stopped(model, **params)
    chosen.clear()
    (resumed,) = model.run([call(saved, **params)])
    assert resumed.value == undisturbed.value
    assert 0 < len(chosen) == all_of_it - tokens_in(saved) and tokens_in(saved) > 0


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_the_text_is_the_one_that_nothing_stopped(models, chosen, params):
    """However tokens are chosen."""
    check_it_goes_on(models["lstm"], chosen, prompt="She", **params)


@pytest.mark.parametrize("params", PARAMS[::2], ids=str)
@pytest.mark.parametrize("name", ["transformer", "stories"])
def test_with_keys_and_values_too(models, chosen, name, params):
    check_it_goes_on(models[name], chosen, **params)


def test_past_the_context_too(models, chosen):
    """Prompt and text together are longer than what attention sees, and cannot be read at once."""
    check_it_goes_on(models["transformer"], chosen, prompt=LONG, on_long_prompt="cut")


def test_it_goes_on_in_a_batch(model):
    """Beside calls that begin anew, and one that goes on from elsewhere."""
    calls = [{"seed": 1}, {"seed": 2, "n": 2}, {"seed": 3, "max_tokens": 9}, {"seed": 4}]
    undisturbed = [outcome.value for outcome in model.run([call(**each) for each in calls])]
    saved = [stopped(model, **calls[0]), stopped(model, 1, **calls[1]), None, stopped(model, 3, **calls[3])]
    resumed = model.run([call(data, **each) for data, each in zip(saved, calls, strict=True)])
    assert [outcome.value for outcome in resumed] == undisturbed


def test_a_choice_that_had_ended_stays_as_it_was(model, chosen):
    """All of it was saved, as when the process dies before the commit: nothing is chosen any more."""
    saves: list[bytes] = []
    (undisturbed,) = model.run([call(save=saves.append)])
    done = {**json.loads(saves[-1]), "choices": [list(chosen)]}
    chosen.clear()
    (resumed,) = model.run([call(json.dumps(done).encode())])
    assert resumed.value == undisturbed.value and chosen == []


@pytest.mark.parametrize("other", [{"seed": 8}, {"prompt": "It was a dark day"}, {"max_tokens": 21}], ids=str)
def test_a_checkpoint_of_another_request_is_not_used(models, chosen, other):
    model = models["transformer"]
    saved = stopped(model)
    (undisturbed,) = model.run([call(**other)])
    chosen.clear()
    (resumed,) = model.run([call(saved, **other)])
    assert resumed.value == undisturbed.value
    assert len(chosen) == undisturbed.value["usage"]["completion_tokens"]


@pytest.mark.parametrize("damaged", [b"", b"\xff", b"[]", b"null", b'{"made_from": 1}'])
def test_a_checkpoint_that_cannot_be_read_is_none(models, damaged):
    model = models["transformer"]
    (undisturbed,) = model.run([call()])
    (resumed,) = model.run([call(damaged)])
    assert resumed.value == undisturbed.value
