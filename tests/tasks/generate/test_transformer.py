"""The transformer of generate: its formulas, the same text in any batch and however a prompt is read, its context."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tasks.algorithm import Call, load
from tasks.errors import Canceled, InvalidInput, ModelFailed, TooLarge
from tasks.generate import language
from tasks.generate.plain import PARAGRAPH
from tasks.generate.training import transformer as train_transformer
from tasks.generate.training.corpus import read_prose
from tasks.generate.transformer import CONTEXT, Attending, Cache, Model, Network
from tasks.generate.vocabulary import Vocabulary
from tasks.generate.writing import Answer
from tasks.registry import Registry

SHIPPED = Registry.default().model("generate", "transformer").weights_path()
STORY = 'It was a dark night, and the old man went down to the sea. "Who is there?" said she.\n\n' * 20
PROMPTS = ("It was a dark night", "“Who is there”", "She", "the old man " * 30, "It was \n\n", "é—…")


def trained(seed=5, size=1.0) -> train_transformer.Network:
    """The network of the training, its weights drawn at random and rounded to half precision as they ship."""
    torch.manual_seed(seed)
    network = train_transformer.Network(300, 64, 2, 32, 2)
    for value in network.parameters():
        value.data = (torch.randn(value.shape) * size / value.shape[-1] ** 0.5).half().float()
    return network.eval()


def network(**given) -> Network:
    return Network({name: value.half() for name, value in trained(**given).state_dict().items()}, "cpu")


@pytest.fixture(scope="module")
def model():
    """Random weights over 300 tokens: what it writes is babble, and no test here depends on its sense."""
    vocabulary = Vocabulary.learn([STORY], 300)
    assert len(vocabulary) == 300
    return Model(network(), vocabulary)


def call(prompt="It was", **params) -> Call:
    return Call.of("generate", params, prompt=prompt)


def text(result) -> str:
    return result.value["text"]


def tokens(*shape) -> torch.Tensor:
    return torch.randint(300, shape, generator=torch.Generator().manual_seed(1))


def test_it_is_the_network_that_was_trained():
    """Scores at every place of a text, by PyTorch's own attention in float32; rounding to 2^-12 is all that differs."""
    given, served = tokens(1, 60), network()
    expected = trained()(given).detach().numpy()
    told = served.scores(served.read(given, Cache(served, 1), slice(None))[0])
    np.testing.assert_allclose(told, expected[0], atol=4e-3 * np.abs(expected).max())


def test_a_text_read_in_any_portions_is_the_same_to_the_last_bit():
    """At once, one by one, or in pieces: what is kept of a text does not depend on how it came."""
    given, served = tokens(1, 40), network()
    whole = served.read(given, Cache(served, 1), slice(None))[:, -1]
    for cuts in ([1] * 40, [7, 30, 3], [39, 1]):
        cache = Cache(served, 1)
        for piece in given.split(cuts, dim=1):
            last = served.read(piece, cache, slice(None))[:, -1]
        assert torch.equal(last, whole)


def test_a_row_is_the_same_to_the_last_bit_in_every_batch():
    """In any number of rows, at any place among them, on one thread or two."""
    given, served, threads = tokens(9, 5), network(), torch.get_num_threads()

    def last(rows):
        cache = Cache(served, len(rows))
        for place in range(5):
            top = served.read(given[rows, place : place + 1], cache, slice(None))
        return top

    whole = last(list(range(9)))
    try:
        for count, lists in ((1, ([0], [8], [5, 3], list(range(7)), [3] * 4)), (2, ([2], list(range(9))))):
            torch.set_num_threads(count)
            assert all(torch.equal(last(rows), whole[rows]) for rows in lists)
    finally:
        torch.set_num_threads(threads)


def test_attention_sees_the_last_256_places_and_no_more():
    """By a network of one layer: a text goes on as if what is further back had never been."""
    torch.manual_seed(0)
    shallow = train_transformer.Network(300, 64, 1, 32, 2)
    drawn = {name: (torch.randn(value.shape) / 8).half() for name, value in shallow.state_dict().items()}
    served = Network(drawn, "cpu")
    end = tokens(1, CONTEXT + 2)

    def last(begin):
        cache = Cache(served, 1)
        for piece in torch.cat([begin, end], dim=1).split(50, dim=1):
            top = served.read(piece, cache, slice(None))
        return top[:, -1]

    one, other = tokens(1, 20), tokens(1, 20).flip(1)
    assert torch.equal(last(one), last(other))
    assert not torch.equal(last(one), last(one[:, :10]))  # places are told apart, by turning to 2^-12


def test_a_row_kept_twice_goes_on_as_two():
    """Each as the one would have."""
    served, given = network(), tokens(2, 10)
    reading = Attending(served, 2)
    for row in range(2):
        portions = reading.portions([10 * (row == 0), 10])
        assert portions == [10 * (row == 0), 10 * (row == 1)]
        reading.read([given[n, : portions[n]].tolist() for n in range(2)], [row])
    reading.keep([1, 0, 1])
    scores = reading.read([[5], [6], [5]], [0, 1, 2])
    assert np.array_equal(scores[0], scores[2]) and not np.array_equal(scores[0], scores[1])


def test_weights_too_large_for_exact_sums_are_refused():
    """The promise of equal texts is checked at loading, not hoped for."""
    with pytest.raises(ModelFailed, match="too large"):
        network(size=500)


@pytest.fixture(scope="module")
def shipped():
    return load("generate", "transformer")


def test_what_ships_is_the_network_that_was_trained(shipped):
    """Its mean cost of a text is that of PyTorch's network with the same weights, to a thousandth of the perplexity."""
    given = {name: value.float() for name, value in load_file(SHIPPED / "model.safetensors").items()}
    size, width = given["embedding"].shape
    network = train_transformer.Network(size, width, shipped.network.layers, 32, 2)
    network.load_state_dict(given)
    story = "\n\nThe old man looked at the sea for a long time, and said nothing. " * 12
    text = torch.tensor(shipped.vocabulary.encode(story)[:CONTEXT])
    scores = shipped.network.scores(shipped.network.read(text[None, :-1], Cache(shipped.network, 1), slice(None))[0])
    cost = torch.nn.functional.cross_entropy(torch.from_numpy(scores), text[1:]).item()
    assert cost == pytest.approx(train_transformer.nats_per_token(network, text, CONTEXT, 0), abs=1e-3)


def test_what_ships_is_small_and_has_a_card():
    """Under 12 MB, with the numbers the card states in config.json; better than counts of the same text."""
    held_out = json.loads((SHIPPED / "config.json").read_text())["held_out"]
    card = (SHIPPED / "CARD.md").read_text()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 12e6
    assert all(f"{held_out[name]['perplexity']:.1f}" in card for name in ("transformer", "kneser_ney", "trigram"))
    assert held_out["transformer"]["perplexity"] < held_out["kneser_ney"]["perplexity"]


@pytest.mark.data("text/prose")
def test_the_cards_perplexity_is_met_on_the_held_out_text(shipped, real_data):
    """Through the very network that serves, on 3,000 tokens from 24 places of the test text: within 10 %."""
    test = read_prose(real_data).test
    held_out = json.loads((SHIPPED / "config.json").read_text())["held_out"]
    told = torch.tensor(shipped.vocabulary.encode(PARAGRAPH.join(test)))
    assert len(told) == held_out["tokens"]
    streams = told[: len(told) // 24 * 24].view(24, -1)[:, : CONTEXT + 1]
    top = shipped.network.read(streams[:, :-1], Cache(shipped.network, 24), slice(None))[:, 128:]
    scores = torch.from_numpy(shipped.network.scores(top))
    nats = torch.nn.functional.cross_entropy(scores.flatten(0, 1), streams[:, 129:].flatten()).item()
    assert math.exp(nats) == pytest.approx(held_out["transformer"]["perplexity"], rel=0.1)


def mixed_calls() -> list[Call]:
    sorts = (
        {"temperature": 0},
        {"top_k": 5},
        {"top_p": 0.7, "temperature": 1.3},
        {"stop": ["e", "the "]},
        {"n": 3},
        {"repetition_penalty": 1.5},
    )
    return [
        call(PROMPTS[n % len(PROMPTS)], seed=n, max_tokens=3 + 20 * (n % 4) // 3, **sorts[n % len(sorts)])
        for n in range(9)
    ]


@pytest.fixture(scope="module")
def alone(model):
    """What each of mixed_calls gives by itself."""
    return [model.run([each])[0].value for each in mixed_calls()]


@pytest.mark.parametrize("order", [range(9), range(8, -1, -1), (4, 7), (7, 2, 0, 7, 7)])
def test_a_call_gives_the_same_text_alone_and_in_any_batch(model, alone, order):
    """Same seed, same choices, finish reasons and usage, whatever runs beside it and in whatever order."""
    calls = mixed_calls()
    results = model.run([Call(calls[n].inputs, calls[n].params, call().workdir) for n in order])
    assert [result.value for result in results] == [alone[n] for n in order]


def test_the_first_of_n_choices_is_that_of_one(model):
    """And the others are those of other draws, as long, in choices.json too."""
    (one,) = model.run([call(seed=3, max_tokens=12)])
    (four,) = model.run([call(seed=3, max_tokens=12, n=4)])
    assert four.value["choices"][0] == one.value["choices"][0] and text(four) == text(one)
    assert len({choice["text"] for choice in four.value["choices"]}) == 4
    assert four.value["usage"]["completion_tokens"] == 48
    assert [file.name for file in four.files] == ["text.txt", "choices.json"]


def test_more_choices_than_fit_in_memory_are_written_in_turn(model, monkeypatch):
    """Each call's as they were, whichever share of the calls it came into."""
    calls = [call(prompt, seed=3, max_tokens=4, n=n) for prompt, n in (("She", 2), ("the", 3), ("It", 1), ("old", 4))]
    expected = [result.value for result in model.run(calls)]
    monkeypatch.setattr(language, "ROWS", 4)
    assert [
        [answer.call.params.n for answer in share]
        for share in language.shares([Answer(each, model.prompt(each)) for each in calls])
    ] == [[2], [3, 1], [4]]
    assert [result.value for result in model.run(calls)] == expected


def test_a_prompt_over_the_context_is_refused_with_its_limit_or_cut_as_asked(model):
    """Cut, its last tokens are read, and what stands before them changes nothing."""
    long = "the old man " * 300
    (refused,) = model.run([call(long, max_tokens=2)])
    assert isinstance(refused, TooLarge) and "255" in refused.detail and "on_long_prompt" in refused.detail
    cut = model.run([call(begin + long, max_tokens=4, on_long_prompt="cut") for begin in ("", "She said: ")])
    assert text(cut[0]) == text(cut[1]) and cut[0].value["usage"]["prompt_tokens"] == 255


def test_a_text_may_be_longer_than_the_context(model):
    """Attention moves on with it."""
    (result,) = model.run([call(max_tokens=CONTEXT + 30, seed=2)])
    assert result.value["usage"]["completion_tokens"] == CONTEXT + 30


def test_messages_are_refused_by_a_model_that_knows_no_conversation(model):
    """It says what to give instead, and the call beside it is answered."""
    asked = Call.of("generate", {"max_tokens": 2}, messages=[{"role": "user", "content": "Hello"}])
    refused, good = model.run([asked, call(max_tokens=2)])
    assert isinstance(refused, InvalidInput) and "give a prompt" in refused.detail
    assert good.value["finish_reason"] == "length"


def test_a_canceled_call_leaves_and_the_others_go_on(model):
    """Within four tokens of the answer being yes, all its choices with it."""
    asked = []
    victim = call(seed=1, max_tokens=2000, n=2)
    victim = Call(victim.inputs, victim.params, victim.workdir, canceled=lambda: asked.append(None) or len(asked) > 3)
    results = model.run([victim, call(seed=2, max_tokens=30)])
    assert isinstance(results[0], Canceled) and len(asked) == 4
    assert results[1].value == model.run([call(seed=2, max_tokens=30)])[0].value


def test_an_embedding_has_length_one_and_does_not_depend_on_the_batch(model):
    """Of a short text and of one of several windows; beside a call that writes."""
    asked = [call("The old man", mode="embed"), call(STORY, mode="embed"), call(max_tokens=3)]
    short, long, _ = model.run(asked)
    assert [model.run([call(prompt, mode="embed")])[0].value for prompt in ("The old man", STORY)] == [
        short.value,
        long.value,
    ]
    assert np.linalg.norm(short.value["embedding"]) == pytest.approx(1, abs=1e-5)
    assert long.value["usage"] == {
        "prompt_tokens": len(model.vocabulary.encode(STORY.rstrip() + "\n\n")),
        "completion_tokens": 0,
    }
    assert [file.name for file in short.files] == ["embedding.json"]
