"""How generate's networks are trained: what a step reads; they learn, resume exactly and ship what they measured."""

import gzip
import json
import math

import numpy as np
import pytest
import torch

from tasks.algorithm import Call, implementation
from tasks.generate.plain import PARAGRAPH
from tasks.generate.training import recurrent as train_recurrent
from tasks.generate.training import tokens
from tasks.generate.training import transformer as train_transformer
from tasks.generate.training.corpus import read_prose
from tasks.generate.training.language import schedule
from tasks.generate.training.muon import orthogonal
from tasks.generate.training.recipes import RECIPES
from tasks.recipe import DataMissing

WORDS = ["the", "old", "man", "saw", "a", "ship", "and", "said", "nothing", "to", "her", "while", "it", "was", "dark"]
SIZES = {
    "lstm": {"embedding": 12, "hidden": 16, "texts": 4, "warm_up": 5, "steps": 60},
    "rnn": {"embedding": 12, "hidden": 16, "texts": 4, "warm_up": 5, "steps": 60},
    "transformer": {"width": 32, "context": 24, "texts": 4, "steps": 60},
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Networks this small are slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
    """The recipe of an algorithm with a network of a few thousand weights."""
    monkeypatch.setattr(tokens, "VOCABULARY", 280)
    monkeypatch.setattr(train_recurrent, "SPAN", 8)
    monkeypatch.setattr(train_transformer, "LAYERS", 2)
    return lambda algorithm="lstm": type("Small", (RECIPES[algorithm],), SIZES[algorithm])(data, "cpu")


@pytest.fixture(params=["lstm", "rnn", "transformer"])
def algorithm(request):
    return request.param


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


def test_it_learns(small, algorithm):
    """From a guess among all tokens to far below it."""
    recipe = small(algorithm)
    losses = [recipe.step(number) for number in range(60)]
    assert losses[0] == pytest.approx(math.log(280), abs=0.2)
    assert losses[-1] < losses[0] - 1


def test_the_rate_rises_stays_and_falls():
    """The last rate is a fiftieth of the peak."""
    rates = [schedule(number, 1000, 100, 0.25) for number in range(1000)]
    assert max(rates) == 1 and rates[500] == 1 and rates[-1] == 0.02 and rates[0] < 0.3


def test_a_resumed_training_is_the_uninterrupted_one(small, algorithm):
    """After ten steps through another object: the same losses, dropout and carried past included, to the last bit."""
    whole, first, second = small(algorithm), small(algorithm), small(algorithm)
    expected = [whole.step(number) for number in range(16)]
    losses = [first.step(number) for number in range(10)]
    second.restore(first.state())
    assert losses + [second.step(number) for number in range(10, 16)] == expected


def test_a_state_of_another_vocabulary_is_refused(small):
    """Token numbers would mean other words."""
    recipe = small()
    with pytest.raises(ValueError, match="vocabulary"):
        recipe.restore({**recipe.state(), "vocabulary": "{}"})


@pytest.fixture(params=["lstm", "rnn"])
def exported(request, small, tmp_path):
    """A recipe that has learned a little, the folder it exported to, and the model that serves from there."""
    recipe = small(request.param)
    for number in range(40):
        recipe.step(number)
    recipe.export(tmp_path, [{"step": 40, "seconds": 1.0, "loss": 2.0, **recipe.evaluate()}])
    return recipe, tmp_path, implementation("generate", request.param).load(tmp_path, "cpu")


def test_what_is_exported_is_what_was_measured(exported):
    """The card's perplexity, once more by the network that serves, token by token over the whole test text."""
    recipe, folder, model = exported
    held_out = json.loads((folder / "config.json").read_text())["held_out"]
    test = recipe.tokens.test
    length = (len(test) - 1) // 16
    streams = torch.stack([test[n * length : (n + 1) * length + 1] for n in range(16)])
    state, cost = model.network.blank(16), 0.0
    for place in range(length):
        state = model.network.step(streams[:, place].tolist(), *state)
        scores = torch.from_numpy(model.network.scores(state[0][1]))
        cost += torch.nn.functional.cross_entropy(scores, streams[:, place + 1], reduction="sum").item()
    told = held_out[recipe.algorithm]["perplexity"]
    assert math.exp(cost / (length * 16)) == pytest.approx(told, rel=1e-3)
    assert f"{told:.1f}" in (folder / "CARD.md").read_text()
    assert held_out["kneser_ney"]["perplexity"] < held_out["unigram"]["perplexity"] < 280
    assert held_out["trigram"]["perplexity"] < held_out["unigram"]["perplexity"]
    assert model.run([Call.of("generate", {"max_tokens": 3}, prompt="the old")])[0].value["usage"]["prompt_tokens"] > 0


def test_windows_that_overlap_score_each_token_once():
    """By a network that looks at the last 16 tokens, with overlaps as much: the same as one window over all."""

    class Near(torch.nn.Module):
        def forward(self, read):
            told, places = torch.nn.functional.one_hot(read, 5), read.shape[1]
            scores = sum(torch.nn.functional.pad(told, (0, 0, back, 0))[:, :places] for back in range(16))
            return scores.cumsum(-1) / 16

    text = torch.randint(5, (301,), generator=torch.Generator().manual_seed(2))
    whole = torch.nn.functional.cross_entropy(Near()(text[None, :-1])[0], text[1:]).item()
    for texts in (1, 3, 50):
        assert train_transformer.nats_per_token(Near(), text, 64, 32, texts) == pytest.approx(whole)


def test_shakespeare_is_cut_in_three_that_share_nothing(tmp_path):
    """85, 5 and 10 % of the characters, in this order, and together all of them."""
    (tmp_path / "text").mkdir()
    play = "To be, or not to be: that is the question.\n" * 100
    (tmp_path / "text" / "tinyshakespeare.txt.gz").write_bytes(gzip.compress(play.encode()))
    read = tokens.shakespeare(tmp_path)
    whole = torch.cat([read.train, read.validation, read.test]).tolist()
    assert "".join(read.identity[token] for token in whole) == play
    assert [len(part) / len(play) for part in (read.train, read.validation, read.test)] == pytest.approx(
        [0.85, 0.05, 0.1], abs=1e-3
    )
    with pytest.raises(DataMissing, match="tinyshakespeare"):
        tokens.shakespeare(tmp_path / "nowhere")


@pytest.mark.data("text/prose")
def test_no_paragraph_of_the_test_is_in_the_training_text(real_data):
    """Of the real novels; but for refrains of a few words, such as a dialogue's 'Yes, sir.'"""
    split = read_prose(real_data)
    learned = {paragraph for book in (*split.train, *split.validation) for paragraph in book.split(PARAGRAPH)}
    held_out = [paragraph for book in split.test for paragraph in book.split(PARAGRAPH)]
    assert len(held_out) > 1000
    assert max(len(paragraph) for paragraph in held_out if paragraph in learned) < 60


def test_muon_steps_by_what_has_equal_singular_values():
    """Of a matrix of any shape, tall or wide or stacked: between 0.6 and 1.3, by NumPy's decomposition."""
    random = torch.Generator().manual_seed(0)
    for shape in ((24, 24), (48, 12), (12, 48), (3, 20, 20)):
        values = np.linalg.svd(orthogonal(torch.randn(shape, generator=random)).numpy(), compute_uv=False)
        assert values.min() > 0.6 or shape[-1] == shape[-2]  # the smallest of a square one may be too near 0
        assert np.median(values) > 0.6 and values.max() < 1.3
