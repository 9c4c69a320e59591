"""How the LSTM of generate is trained: what a step reads; it learns, resumes exactly and ships what it measured."""

import gzip
import json
import math

import pytest
import torch

from tasks.algorithm import Call
from tasks.generate import train
from tasks.generate.lstm import Model

WORDS = ["the", "old", "man", "saw", "a", "ship", "and", "said", "nothing", "to", "her", "while", "it", "was", "dark"]
SMALL = {"VOCABULARY": 280, "EMBEDDING": 12, "HIDDEN": 16, "STREAMS": 4, "SPAN": 8, "WARM_UP": 5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two small books, sentences of few words in an order that can be learned."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text" / "prose").mkdir(parents=True)
    for book in (1, 2):
        sentences = [" ".join(WORDS[(n * book + i) % len(WORDS)] for i in range(9)) + "." for n in range(400)]
        text = "\n\n".join(sentences)
        (folder / "text" / "prose" / f"{book}.txt.gz").write_bytes(gzip.compress(text.encode()))
    return folder


@pytest.fixture
def small(monkeypatch, data):
    """The recipe with a network of a few thousand weights."""
    for name, value in SMALL.items():
        monkeypatch.setattr(train, name, value)
    monkeypatch.setattr(train.Lstm, "steps", 60)
    return lambda: train.Lstm(data, "cpu")


def test_a_step_reads_on_where_the_last_one_ended(small):
    """Each stream's text goes on from span to span, and what is wanted is what is read, one token on."""
    recipe = small()
    read, wanted = zip(*(recipe._span(number) for number in range(3)), strict=True)
    read, wanted = torch.cat(read, dim=1), torch.cat(wanted, dim=1)
    assert torch.equal(read[:, 1:], wanted[:, :-1])
    assert torch.equal(read.flatten().sort().values, recipe.streams[:, :24].flatten().sort().values)


def test_the_past_is_carried_but_by_streams_that_forget(small):
    """At a pass's first step all forget; later some do, the same ones whenever the step is asked for."""
    recipe = small()
    forgot = []
    for number in [*range(60), *range(60)]:
        recipe.past = tuple(torch.ones(2, 4, 16) for _ in "hc")
        recipe._span(number)
        forgot.append([bool((recipe.past[0][:, stream] == 0).all()) for stream in range(4)])
    assert forgot[0] == [True] * 4 and forgot[:60] == forgot[60:]
    assert 0 < sum(map(sum, forgot[1:60])) < 60


def test_it_learns_and_its_rate_falls(small):
    """From a guess among all tokens to far below it; the last rate is a fiftieth of the peak."""
    recipe = small()
    losses = [recipe.step(number) for number in range(60)]
    assert losses[0] == pytest.approx(math.log(280), abs=0.2)
    assert losses[-1] < losses[0] - 1
    rates = [train._schedule(number, 1000) for number in range(1000)]
    assert max(rates) == 1 and rates[500] == 1 and rates[-1] == 0.02 and rates[0] < 0.3


def test_a_resumed_training_is_the_uninterrupted_one(small):
    """After ten steps through another object: the same losses, dropout and carried past included, to the last bit."""
    whole, first, second = small(), small(), small()
    expected = [whole.step(number) for number in range(16)]
    losses = [first.step(number) for number in range(10)]
    second.restore(first.state())
    assert losses + [second.step(number) for number in range(10, 16)] == expected


def test_a_state_of_another_vocabulary_is_refused(small):
    """Token numbers would mean other words."""
    recipe = small()
    with pytest.raises(ValueError, match="vocabulary"):
        recipe.restore({**recipe.state(), "vocabulary": "{}"})


def test_what_is_exported_is_what_was_measured(small, tmp_path):
    """The card's perplexity, once more by the network that serves, token by token over the whole test text."""
    recipe = small()
    for number in range(40):
        recipe.step(number)
    recipe.export(tmp_path, [{"step": 40, "seconds": 1.0, "loss": 2.0, **recipe.evaluate()}])
    held_out = json.loads((tmp_path / "config.json").read_text())["held_out"]
    model = Model.load(tmp_path, "cpu")
    tokens = recipe._encode(recipe.text.test)
    length = (len(tokens) - 1) // 16
    streams = torch.stack([tokens[n * length:(n + 1) * length + 1] for n in range(16)])
    state, cost = model.network.blank(16), 0.0
    for place in range(length):
        state = model.network.step(streams[:, place].tolist(), *state)
        scores = torch.from_numpy(model.network.scores(state[0][1]))
        cost += torch.nn.functional.cross_entropy(scores, streams[:, place + 1], reduction="sum").item()
    assert math.exp(cost / (length * 16)) == pytest.approx(held_out["lstm"]["perplexity"], rel=1e-3)
    assert f"{held_out['lstm']['perplexity']:.1f}" in (tmp_path / "CARD.md").read_text()
    assert held_out["trigram"]["perplexity"] < held_out["unigram"]["perplexity"] < 280
    assert model.run([Call.of("generate", {"max_tokens": 3}, prompt="the old")])[0].value["usage"]["prompt_tokens"] > 0
