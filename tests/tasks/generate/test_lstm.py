"""The LSTM of generate: its formulas, the same text alone and in any batch, and how a call ends."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tasks.algorithm import Call, load
from tasks.errors import Canceled, InvalidInput, ModelFailed
from tasks.generate import Result as Contract
from tasks.generate import writing
from tasks.generate.lstm import Model, Network
from tasks.generate.vocabulary import Vocabulary
from tasks.registry import Registry

SHIPPED = Registry.default().model("generate", "lstm").weights_path()
PROMPTS = (
    "It was a dark night",
    "“I do not think so,” said she",
    "Alice",
    "The ship " * 40,
    "Once upon a time \n\n",
    "é—…",
)


def weights(vocabulary=500, embedding=48, hidden=96, size=0.5) -> dict[str, torch.Tensor]:
    """Random weights of the trained network's names and shapes, in half precision as they ship."""
    random = torch.Generator().manual_seed(5)
    shapes = {
        "embedding.weight": (vocabulary, embedding),
        "projection.weight": (embedding, hidden),
        "projection.bias": (embedding,),
        "bias": (vocabulary,),
    }
    for n, width in ((0, embedding), (1, hidden)):
        shapes |= {
            f"lstm.weight_ih_l{n}": (4 * hidden, width),
            f"lstm.weight_hh_l{n}": (4 * hidden, hidden),
            f"lstm.bias_ih_l{n}": (4 * hidden,),
            f"lstm.bias_hh_l{n}": (4 * hidden,),
        }
    return {name: (torch.randn(shape, generator=random) * size).half() for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def model():
    """The weights that ship; these tests need no other data."""
    return load("generate", "lstm")


def call(prompt="It was", **params) -> Call:
    return Call.of("generate", params, prompt=prompt)


def text(result) -> str:
    return result.value["text"]


def test_a_step_is_the_formula():
    """Two steps of two layers, in plain numpy, gate by gate; what rounding to 2^-12 costs is all that differs."""
    given = weights()
    w = {name: value.double().numpy() for name, value in given.items()}
    h, c = np.zeros((2, 96)), np.zeros((2, 96))
    network = Network(given, "cpu")
    state = network.blank(1)
    for token in (7, 431):
        x = w["embedding.weight"][token]
        for n in range(2):
            z = w[f"lstm.weight_ih_l{n}"] @ x + w[f"lstm.bias_ih_l{n}"] + w[f"lstm.weight_hh_l{n}"] @ h[n]
            i, f, g, o = np.split(z + w[f"lstm.bias_hh_l{n}"], 4)
            c[n] = c[n] / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h[n] = np.tanh(c[n]) / (1 + np.exp(-o))
            x = h[n]
        state = network.step([token], *state)
    expected = w["embedding.weight"] @ (w["projection.weight"] @ h[1] + w["projection.bias"]) + w["bias"]
    np.testing.assert_allclose(state[0][:, 0].numpy(), h, atol=2e-3)
    np.testing.assert_allclose(state[1][:, 0].numpy(), c, atol=4e-3)
    np.testing.assert_allclose(network.scores(state[0][1])[0], expected, atol=2e-2 * np.abs(expected).max())


def test_it_is_the_network_that_was_trained(model):
    """Its mean cost of a text is that of PyTorch's LSTM with the same weights, to a thousandth of the perplexity."""
    from safetensors.torch import load_file

    from tasks.generate.training import recurrent as train

    given = load_file(SHIPPED / "model.safetensors")
    size, width = given["embedding.weight"].shape
    trained = train.Network(size, width, given["projection.weight"].shape[1], 2)
    trained.load_state_dict({name: value.float() for name, value in given.items()})
    tokens = model.vocabulary.encode("\n\nThe old man looked at the sea for a long time, and said nothing. " * 3)
    state, cost = model.network.blank(1), 0.0
    for token, wanted in zip(tokens, tokens[1:], strict=False):
        state = model.network.step([token], *state)
        scores = model.network.scores(state[0][1])[0]
        cost += np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[wanted]
    assert cost / (len(tokens) - 1) == pytest.approx(
        train.nats_per_token(trained, torch.tensor(tokens), streams=1), abs=1e-3
    )


def test_a_row_is_the_same_to_the_last_bit_in_every_batch():
    """In any number of rows, at any place among them, on one thread or two: states and scores are equal."""
    network = Network(weights(), "cpu")
    tokens = torch.randint(500, (12, 33), generator=torch.Generator().manual_seed(1))

    def scores(rows):
        state = network.blank(len(rows))
        for column in tokens[:, rows]:
            state = network.step(column.tolist(), *state)
        return network.scores(state[0][1])

    whole, threads = scores(list(range(33))), torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            for rows in ([0], [32], [5, 31], list(range(7)), list(range(20, 33)), [3] * 16, list(range(32, -1, -1))):
                assert np.array_equal(scores(rows), whole[rows])
    finally:
        torch.set_num_threads(threads)


def test_weights_too_large_for_exact_sums_are_refused():
    """The promise of equal texts is checked at loading, not hoped for."""
    with pytest.raises(ModelFailed, match="too large"):
        Network(weights(size=6000), "cpu")


def mixed_calls() -> list[Call]:
    """Every sort of params, prompts of 1 to some 80 tokens, 3 to 40 tokens to write."""
    sorts = ({"temperature": 0}, {"top_k": 5}, {"top_p": 0.7, "temperature": 1.3}, {"stop": ["\n\n", "the "]}, {})
    return [
        call(PROMPTS[n % len(PROMPTS)], seed=n, max_tokens=3 + 37 * (n % 4) // 3, **sorts[n % len(sorts)])
        for n in range(11)
    ]


@pytest.fixture(scope="module")
def alone(model):
    """What each of mixed_calls gives by itself."""
    return [model.run([each])[0].value for each in mixed_calls()]


@pytest.mark.parametrize("order", [range(11), range(10, -1, -1), (4, 9), (7, 2, 0, 7, 7), (1, 3, 5, 8, 10, 6)])
def test_a_call_gives_the_same_text_alone_and_in_any_batch(model, alone, order):
    """Same seed, same text, finish reason and usage, whatever runs beside it and in whatever order."""
    calls = mixed_calls()
    results = model.run([Call(calls[n].inputs, calls[n].params, call().workdir) for n in order])
    assert [result.value for result in results] == [alone[n] for n in order]


def test_seeds_differ_and_repeat(model):
    """Another seed, another text; the same again, the same."""
    texts = [text(model.run([call(seed=seed, max_tokens=24)])[0]) for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]


def test_the_result_fits_the_contract_and_the_file_is_the_text(model):
    """text.txt lies in the call's own folder."""
    asked = call("Alice was", max_tokens=12)
    (result,) = model.run([asked])
    said = Contract.model_validate(result.value)
    assert said.finish_reason == "length" and said.usage.completion_tokens == 12
    assert said.usage.prompt_tokens == len(model.vocabulary.encode("Alice was"))
    assert result.files == (asked.workdir / "text.txt",)
    assert result.files[0].read_bytes().decode() == said.text != ""


def test_a_stop_text_ends_the_text_before_it(model):
    """Cut from what the same seed writes without: nothing of the stop text, and no report ever showed a part."""
    free = text(model.run([call(seed=3, max_tokens=60)])[0])
    stop, shown = free[40:47], []
    asked = call(seed=3, max_tokens=60, stop=["never to come", stop])
    (result,) = model.run([Call(asked.inputs, asked.params, asked.workdir, lambda share, tail: shown.append(tail))])
    assert result.value["finish_reason"] == "stop"
    assert text(result) == free[: free.index(stop)]
    assert shown and all(tail in text(result) for tail in shown)
    assert result.value["usage"]["completion_tokens"] < 60


@pytest.mark.parametrize("prompt", ["", " \n\t", "\ufeff", None, 7, b"It was", "half \ud83d"])
def test_an_unusable_prompt_is_that_calls_error_alone(model, prompt):
    """The one beside it is answered as if it were alone."""
    bad, good = model.run([call(prompt, max_tokens=4), call(max_tokens=4)])
    assert isinstance(bad, InvalidInput) and "prompt" in bad.detail
    assert good.value == model.run([call(max_tokens=4)])[0].value


def test_a_canceled_call_leaves_and_the_others_go_on(model):
    """It stops within a few tokens of the answer being yes; its neighbour's text is what it would have been."""
    asked, reports = [], []
    victim = call(seed=1, max_tokens=2000)
    victim = Call(
        victim.inputs,
        victim.params,
        victim.workdir,
        lambda share, tail: reports.append(share),
        lambda: asked.append(None) or len(asked) > 3,
    )
    results = model.run([victim, call(seed=2, max_tokens=40)])
    assert isinstance(results[0], Canceled) and len(asked) == 4
    assert list(victim.workdir.iterdir()) == []
    assert results[1].value == model.run([call(seed=2, max_tokens=40)])[0].value


def test_progress_rises_and_shows_the_text_so_far(model):
    """Shares of max_tokens, with the end of what is written; all of it as the text so far."""
    reports, texts = [], []
    asked = call(seed=4, max_tokens=50)
    told = Call(asked.inputs, asked.params, asked.workdir, lambda *report: reports.append(report), so_far=texts.append)
    (result,) = model.run([told])
    shares = [share for share, _ in reports]
    assert shares == sorted(shares) and shares[0] == 0 and 0.5 < shares[-1] < 1
    assert all(tail in text(result) and len(tail) <= writing.TAIL for _, tail in reports) and reports[-1][1]
    assert len(texts) == len(reports) and all(text(result).startswith(so_far) for so_far in texts)
    assert all(later.startswith(so_far) for so_far, later in zip(texts, texts[1:], strict=False))


def test_of_a_long_prompt_the_last_512_tokens_are_read(model):
    """As the docstring says: what stands before them changes nothing."""
    end = " and then the old man went down to the sea" * 100
    long = [model.run([call(begin * 300 + end, max_tokens=6)])[0].value for begin in ("One thing. ", "Or other! ")]
    assert long[0]["text"] == long[1]["text"] and long[0]["usage"]["prompt_tokens"] == 512
    assert [warned["code"] for warned in long[0]["warnings"]] == ["prompt_cut"]
    assert model.run([call("The old man", max_tokens=2)])[0].value["warnings"] == []


def test_a_prompt_that_ends_with_a_space_is_gone_on_with_a_word(model):
    """The words are those of the prompt without it; the space is not said twice."""
    with_space, without = (text(model.run([call(prompt, max_tokens=8)])[0]) for prompt in ("It was ", "It was"))
    assert with_space == without.removeprefix(" ")


def test_a_model_whose_tokens_are_bytes_still_writes_whole_characters(tmp_path):
    """Random weights over mostly bytes: whatever comes is UTF-8, and no replacement mark."""
    vocabulary = Vocabulary.learn(["It was a dark night. “Zoë!” "] * 50, 270)
    vocabulary.write(tmp_path / "tokenizer.json")
    save_file(weights(vocabulary=len(vocabulary)), tmp_path / "model.safetensors")
    babble = Model.load(tmp_path, "cpu")
    results = babble.run([call(seed=seed, max_tokens=40, temperature=5) for seed in range(8)])
    texts = [result.files[0].read_bytes().decode() for result in results]
    assert texts == [text(result) for result in results]
    assert any(not each.isascii() for each in texts) and not any("\ufffd" in each for each in texts)


def test_the_length_of_a_call_is_its_work(model):
    """For the batcher: what is read and what is written; a bad prompt is no reason to fail here."""
    assert model.length(call("word " * 40, max_tokens=10)) == 60
    assert model.length(call("word " * 10_000, max_tokens=10)) == 522
    assert model.length(call(None, max_tokens=10)) == 10


def test_missing_weights_are_named(tmp_path):
    """Which file, and where it was looked for."""
    with pytest.raises(ModelFailed, match="model.safetensors"):
        Model.load(tmp_path, "cpu")
    with pytest.raises(ModelFailed, match="model.safetensors"):
        Model.load(None, "cpu")


def test_what_ships_is_small_and_has_a_card():
    """Under 12 MB, with the numbers the card states in config.json."""
    held_out = json.loads((SHIPPED / "config.json").read_text())["held_out"]
    card = (SHIPPED / "CARD.md").read_text()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 12e6
    assert all(f"{held_out[name]['perplexity']:.1f}" in card for name in ("lstm", "trigram", "unigram"))
    assert held_out["lstm"]["perplexity"] < held_out["unigram"]["perplexity"] / 3


@pytest.mark.data("text/prose")
def test_the_cards_perplexity_is_met_on_the_held_out_text(model, real_data):
    """Through the very network that serves, on 19,000 tokens from 64 places of the test text: within 6 %."""
    from tasks.generate.plain import PARAGRAPH
    from tasks.generate.training.corpus import read_prose

    test = read_prose(real_data).test
    held_out = json.loads((SHIPPED / "config.json").read_text())["held_out"]
    tokens = np.array(model.vocabulary.encode(PARAGRAPH.join(test)))
    assert len(tokens) == held_out["tokens"]
    streams = tokens[: len(tokens) // 64 * 64].reshape(64, -1)[:, :301]
    state, costs = model.network.blank(64), []
    for read, wanted in zip(streams.T, streams.T[1:], strict=False):
        state = model.network.step(read.tolist(), *state)
        scores = model.network.scores(state[0][1])
        rows = np.exp(scores - scores.max(1, keepdims=True))
        costs.append(np.log(rows.sum(1)) + scores.max(1) - scores[np.arange(64), wanted])
    assert math.exp(np.mean(costs)) == pytest.approx(held_out["lstm"]["perplexity"], rel=0.06)
