"""The plain recurrent network of generate: its formula, the same text alone and in any batch, what it refuses."""

import json

import numpy as np
import pytest
import torch

from tasks.algorithm import Call, load
from tasks.errors import InvalidInput, ModelFailed
from tasks.generate.rnn import Model, Network
from tasks.generate.training import recurrent as train_recurrent
from tasks.generate.vocabulary import Vocabulary
from tasks.registry import Registry

STORY = 'It was a dark night, and the old man went down to the sea. "Who is there?" said she.\n\n' * 20
PROMPTS = ("It was a dark night", "She", "the old man " * 20, "It was \n\n", "é—…")


def weights(size=0.3) -> dict[str, torch.Tensor]:
    """Random weights of the trained network's names and shapes, in half precision as they ship."""
    random = torch.Generator().manual_seed(5)
    network = train_recurrent.Network(300, 24, 48, 2, cell="rnn")
    return {
        name: (torch.randn(value.shape, generator=random) * size).half() for name, value in network.state_dict().items()
    }


@pytest.fixture(scope="module")
def model():
    """Random weights over 300 tokens: what it writes is babble, and no test here depends on its sense."""
    return Model(Network(weights(), "cpu"), Vocabulary.learn([STORY], 300))


def call(prompt="It was", **params) -> Call:
    return Call.of("generate", params, prompt=prompt)


def test_a_step_is_the_formula():
    """Two steps of two layers, in plain numpy; what rounding to 2^-12 costs is all that differs."""
    w = {name: value.double().numpy() for name, value in weights().items()}
    h, network = np.zeros((2, 48)), Network(weights(), "cpu")
    state = network.blank(1)
    for token in (7, 231):
        x = w["embedding.weight"][token]
        for n in range(2):
            z = w[f"rnn.weight_ih_l{n}"] @ x + w[f"rnn.bias_ih_l{n}"] + w[f"rnn.weight_hh_l{n}"] @ h[n]
            x = h[n] = np.tanh(z + w[f"rnn.bias_hh_l{n}"])
        state = network.step([token], *state)
    expected = w["embedding.weight"] @ (w["projection.weight"] @ h[1] + w["projection.bias"]) + w["bias"]
    np.testing.assert_allclose(state[0][:, 0].numpy(), h, atol=2e-3)
    np.testing.assert_allclose(network.scores(state[0][1])[0], expected, atol=1e-2 * np.abs(expected).max())


def test_it_is_the_network_that_is_trained():
    """Scores along a text, by PyTorch's own recurrence."""
    trained, network = train_recurrent.Network(300, 24, 48, 2, cell="rnn"), Network(weights(size=0.1), "cpu")
    trained.load_state_dict({name: value.float() for name, value in weights(size=0.1).items()})
    tokens = torch.randint(300, (20,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, _ = trained(tokens[None], trained.blank(1))
    state = network.blank(1)
    for token in tokens.tolist():
        state = network.step([token], *state)
    np.testing.assert_allclose(network.scores(state[0][1])[0], expected[0, -1].numpy(), atol=2e-3)


@pytest.mark.parametrize("order", [range(8), (4, 7), (7, 2, 0, 7, 7)])
def test_a_call_gives_the_same_answer_alone_and_in_any_batch(model, order):
    """Texts and vectors, whatever runs beside them and in whatever order."""
    sorts = ({"temperature": 0}, {"top_k": 5, "n": 2}, {"mode": "embed"}, {"repetition_penalty": 1.3})
    calls = [call(PROMPTS[n % len(PROMPTS)], seed=n, max_tokens=3 + 5 * (n % 3), **sorts[n % 4]) for n in range(8)]
    together = model.run([Call(calls[n].inputs, calls[n].params, call().workdir) for n in order])
    assert [result.value for result in together] == [model.run([calls[n]])[0].value for n in order]


def test_an_embedding_does_not_depend_on_the_seed_and_tells_texts_apart(model):
    """The same text, the same vector; another, another."""
    same, again, other = (
        model.run([call(prompt, mode="embed", seed=seed)])[0].value["embedding"]
        for prompt, seed in (("The old man", 1), ("The old man", 2), ("the sea", 1))
    )
    assert same == again != other
    assert np.linalg.norm(same) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("inputs", [{"prompt": " "}, {"messages": [{"role": "user", "content": "Hi"}]}])
@pytest.mark.parametrize("mode", ["generate", "embed"])
def test_what_it_cannot_read_is_refused(model, inputs, mode):
    """A prompt of nothing, and a conversation, to write on or to embed."""
    (refused,) = model.run([Call.of("generate", {"mode": mode}, **inputs)])
    assert isinstance(refused, InvalidInput) and "prompt" in refused.detail


def test_weights_too_large_for_exact_sums_are_refused():
    """As for the LSTM."""
    with pytest.raises(ModelFailed, match="too large"):
        Network(weights(size=6000), "cpu")


def test_what_ships_is_small_and_has_a_card():
    """Under 12 MB, with the numbers of config.json: it learns much, and no more than counts do, as the card says."""
    shipped = Registry.default().model("generate", "rnn").weights_path()
    held_out = json.loads((shipped / "config.json").read_text())["held_out"]
    card = (shipped / "CARD.md").read_text()
    assert sum(path.stat().st_size for path in shipped.iterdir()) < 12e6
    assert all(f"{held_out[name]['perplexity']:.1f}" in card for name in ("rnn", "kneser_ney", "trigram", "unigram"))
    assert held_out["rnn"]["perplexity"] < held_out["unigram"]["perplexity"] / 3
    assert load("generate", "rnn").run([call(max_tokens=8)])[0].value["usage"]["completion_tokens"] == 8
