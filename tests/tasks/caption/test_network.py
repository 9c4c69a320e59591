"""Encoders, decoders and the algorithm around them, with weights at random: shapes, errors, reports. No training."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.resnet import BasicBlock

from tasks.algorithm import Call
from tasks.caption import Result, cnn_attention, cnn_lstm, self_attention, transformer
from tasks.caption.captioner import network
from tasks.caption.encoder import MOST, Residual, SceneEncoder, Sight, SqueezeNetEncoder, everywhere, likelihood, peaks
from tasks.caption.stored import write_tensors
from tasks.caption.teller import waves
from tasks.caption.training.encoder import whereabouts
from tasks.caption.training.scenes import Composer
from tasks.caption.vocabulary import MAX_TOKENS, Vocabulary
from tasks.errors import Canceled, InvalidInput, ModelFailed, TooLarge, UnsupportedMedia
from tests.tasks.caption.test_image import png_header
from tests.tasks.caption.test_scenes import COLOURS

THINGS = ["cat", "dog", "ox"]
SIDE, SIZE = 32, 16
MODELS = {
    "cnn-lstm": (cnn_lstm.Model, {}),
    "cnn-attention": (cnn_attention.Model, {"attention": 8}),
    "self-attention": (self_attention.Model, {"attention": 8}),
    "transformer": (transformer.Model, {"layers": 2, "heads": 2, "longest": MAX_TOKENS}),
}


def config_of(name):
    return {
        "encoder": {"name": "scenes", "widths": [4, 6, 8]},
        "side": SIDE,
        "things": THINGS,
        "doubt": -2.0,
        "decoder": {"size": SIZE, "dropout": 0.0, **MODELS[name][1]},
    }


@pytest.fixture(params=sorted(MODELS))
def name(request):
    return request.param


@pytest.fixture
def model(name, tmp_path):
    """Read from a folder of weights as a recipe writes one, at random; it sees something in every picture."""
    torch.manual_seed(0)
    folder = tmp_path / "weights"
    folder.mkdir()
    made = network(config_of(name), MODELS[name][0].teller)
    torch.nn.init.zeros_(made.encoder.what.bias)
    if name == "self-attention":
        stir(made.teller)
    write_tensors(made, folder)
    (folder / "config.json").write_text(json.dumps(config_of(name)))
    return MODELS[name][0].load(folder, "cpu")


def stir(teller):
    """Weights at random where it begins at zero: a trained one's."""
    for layer in (teller.recombine.O, teller.full):
        torch.nn.init.normal_(layer.weight, std=0.3)


@pytest.fixture
def picture(tmp_path):
    """A path of a small picture of one colour."""

    def save(colour="red", size=(50, 40)):
        path = tmp_path / f"{colour}-{size[0]}x{size[1]}.png"
        Image.new("RGB", size, colour).save(path)
        return path

    return save


def seen(*things):
    """The sight of things that are certain: (number of the thing, x, y)."""
    features = torch.zeros(1, MOST, len(THINGS))
    x, y = torch.zeros(2, 1, MOST)
    for n, (thing, across, down) in enumerate(things):
        features[0, n, thing], x[0, n], y[0, n] = 1.0, across, down
    return Sight(features, x, y, torch.arange(MOST)[None], (3, 3))


def any_sight(rows=1):
    """Of as many peaks as there may be, at random."""
    x, y = torch.rand(2, rows, MOST) * 2 - 1
    return Sight(torch.rand(rows, MOST, len(THINGS)), x, y, torch.arange(MOST).expand(rows, -1), (3, 3))


def test_a_place_of_the_scene_encoder_is_eight_pixels():
    """The last stage keeps the size; the likelihoods of a place, with 'nothing', sum to one."""
    encoder = SceneEncoder([4, 6, 8, 10], things=3).eval()
    M = encoder.map(torch.randn(2, 3, 96, 96))
    assert M.shape == (2, 3 + 1, 12, 12)
    assert torch.allclose(likelihood(M).sum(dim=1) + M.softmax(dim=1)[:, -1], torch.ones(2, 12, 12), atol=1e-5)


def test_peaks_are_one_a_thing_with_its_place_and_its_odds():
    """Two cats (one between four places, one dim and in doubt) and a dog at the rim, on a 12 x 12 map."""
    L = torch.zeros(1, 3, 12, 12)
    L[0, 0, 2:4, 5:7] = torch.tensor([[0.1, 0.2], [0.3, 0.4]])  # a cat, nearer to the lower right of four places
    L[0, 0, 9, 2], L[0, 2, 9, 2] = 0.3, 0.1  # dim: three to one a cat, not an ox
    L[0, 1, 0, 11] = 0.9
    found = peaks(L)
    there = {tuple(one.tolist()) for one in found.features[0].round(decimals=3) if one.any()}
    assert there == {(1.0, 0.0, 0.0), (0.75, 0.0, 0.25), (0.0, 1.0, 0.0)}
    assert (found.features[0].sum(dim=1) > 0).sum() == 3
    cat = (found.features[0, :, 0] > 0.9).nonzero().item()
    assert found.places[0, cat] == 3 * 12 + 6
    assert found.x[0, cat].item() == pytest.approx((0.4 * 5.5 + 0.6 * 6.5) / 6 - 1, abs=1e-5)
    assert found.y[0, cat].item() == pytest.approx((0.3 * 2.5 + 0.7 * 3.5) / 6 - 1, abs=1e-5)


def test_an_empty_map_has_no_peaks():
    """Features are zeros, and so is every place; no division by nothing."""
    found = peaks(torch.full((2, 3, 12, 12), 1e-4))
    assert not found.features.any() and not found.x.any() and not found.y.any()


def test_the_map_that_is_taught_has_its_peaks_where_the_things_are():
    """Through whereabouts() and peaks(), a scene's things come back: which, how many, and where."""
    composer = Composer({thing: Image.new("RGBA", (64, 64)) for thing in COLOURS})
    for seed in range(100):
        scene = composer.scene(seed)
        found = peaks(whereabouts(composer.things, [scene], 12, 12)[:, :-1])
        got = sorted(
            (composer.things[one.argmax()], x.item(), y.item())
            for one, x, y in zip(found.features[0], found.x[0], found.y[0], strict=True)
            if one.any()
        )
        wanted = sorted((p.thing, 2 * p.x - 1, 2 * p.y - 1) for p in scene.things)
        assert [one[0] for one in got] == [one[0] for one in wanted]
        assert np.allclose([one[1:] for one in got], [one[1:] for one in wanted], atol=0.02)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_residual_block_is_torchvisions(stride):
    """The same tensors, and the same answer, in training and in use."""
    torch.manual_seed(0)
    ours = Residual(4, 6, stride)
    theirs = BasicBlock(
        4, 6, stride, torch.nn.Sequential(torch.nn.Conv2d(4, 6, 1, stride, bias=False), torch.nn.BatchNorm2d(6))
    )
    theirs.load_state_dict(ours.state_dict())
    pictures = torch.randn(3, 4, 9, 8)
    for train in (True, False):
        assert torch.equal(ours.train(train)(pictures), theirs.train(train)(pictures))


def test_the_squeezenet_encoder_is_torchvisions_on_its_own_input():
    """On a picture normalised by hand as torchvision's weights want it, the same features, averaged to 7 x 7."""
    torch.manual_seed(0)
    encoder = SqueezeNetEncoder().eval()
    pixels = torch.randint(0, 256, (1, 3, 224, 224)).float()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        ours, theirs = encoder.map((pixels - 127.5) / 64), encoder.layers(wanted)
    assert theirs.shape == (1, 512, 13, 13)
    assert torch.allclose(ours, torch.nn.functional.adaptive_avg_pool2d(theirs, 7), atol=1e-4)


@torch.no_grad()
def test_telling_token_by_token_is_teacher_forcing(model):
    """step() after begin() gives the same log-probabilities as forward() over the whole caption."""
    tokens, sight = torch.tensor([[0, 3, 9, 5], [0, 4, 8, 6]]), any_sight(rows=2)
    teller = model.network.teller
    logits, state = teller(sight, tokens), teller.begin(sight)
    for n in range(tokens.shape[1]):
        scores, state = teller.step(tokens[:, n], state)
        assert torch.allclose(scores, logits[:, n].log_softmax(dim=-1), atol=1e-5)


@torch.no_grad()
def test_a_word_depends_on_no_later_one(model):
    """Another last token changes no logits but its own."""
    sight = any_sight()
    one, other = (model.network.teller(sight, torch.tensor([[0, 3, 9, last]])) for last in (5, 6))
    assert torch.allclose(one[:, :3], other[:, :3], atol=1e-5) and not torch.allclose(one[:, 3], other[:, 3], atol=1e-3)


@torch.no_grad()
def test_what_is_left_of_what_and_how_many_there_are_reaches_the_words(model):
    """A cat left of a dog, a dog left of a cat, and two cats left of a dog give different first words' odds."""
    scenes = [
        seen((0, -0.8, 0), (1, 0.8, 0)),
        seen((1, -0.8, 0), (0, 0.8, 0)),
        seen((0, -0.8, 0.5), (0, -0.8, -0.5), (1, 0.8, 0)),
    ]
    odds = [model.network.teller(sight, torch.tensor([[0]]))[0, 0] for sight in scenes]
    for n, one in enumerate(odds):
        assert not torch.allclose(one, odds[n - 1], atol=1e-3)


@torch.no_grad()
def test_the_order_of_peaks_does_not_matter(model):
    """The same things in another order are the same picture."""
    things = [(0, -0.8, 0.1), (1, 0.8, -0.2), (2, 0.1, 0.9)]
    one, other = (model.network.teller(seen(*order), torch.tensor([[0, 3]])) for order in (things, things[::-1]))
    assert torch.allclose(one, other, atol=1e-5)


def test_v_is_the_sum_and_the_first_moments_by_hand():
    """Two cats and a dog: their word vectors, as they are, turned by x (-0.8, 0.8, 0.8) and by y (-0.8, 0.8, 0)."""
    torch.manual_seed(0)
    teller = network(config_of("cnn-lstm"), cnn_lstm.ShowAndTell).teller
    cat, dog, _ = teller.words.weight[-3:] * SIZE**0.5
    sight = seen((0, -0.8, -0.8), (0, 0.8, 0.8), (1, 0.8, 0))
    wanted = 2 * cat + dog + teller.across(0.8 * dog) + teller.down(0 * cat)
    assert torch.allclose(teller.whole(teller.annotate(sight), sight)[0], wanted, atol=1e-5)


def test_how_many_and_how_alike_tell_all_the_ways_apart_in_which_four_things_can_be():
    """Of every way to have one to four things, some of them alike, the two numbers are different."""
    ways = [(1,), (2,), (1, 1), (3,), (2, 1), (1, 1, 1), (4,), (3, 1), (2, 2), (2, 1, 1)]  # each number of one thing
    sights = [
        seen(
            *(
                (thing, 0.1 * n, 0)
                for n, thing in enumerate(thing for thing, number in enumerate(way) for _ in range(number))
            )
        )
        for way in ways
    ]
    found = [tuple((cnn_lstm.ShowAndTell.numbers(sight)[0] * 4).tolist()) for sight in sights]
    assert found == [(sum(way), sum(number**2 for number in way)) for way in ways]
    assert len(set(found)) == len(ways)


def test_each_place_says_how_many_things_are_like_it():
    """Two cats and a dog; a place without a peak is like nothing."""
    sight = seen((0, -0.8, -0.8), (0, 0.8, 0.8), (1, 0.8, 0))
    alike = cnn_attention.AttendAndTell.alike(sight)[0, :, 0] * 4
    assert alike.tolist() == [2, 2, 1, *[0] * (MOST - 3)]


def test_other_features_are_read_at_every_place_and_averaged():
    """Of plain features, v is the mean of what the linear layer makes of them, with its moments."""
    torch.manual_seed(0)
    teller = cnn_lstm.ShowAndTell(13, 512, SIZE, named=False, dropout=0.0)
    F = torch.randn(2, 512, 7, 7)
    sight = everywhere(F)
    a = teller.annotate(sight)
    x = torch.linspace(-6 / 7, 6 / 7, 7).repeat(7)
    y = torch.linspace(-6 / 7, 6 / 7, 7).repeat_interleave(7)
    wanted = (a + teller.across(a * x[:, None]) + teller.down(a * y[:, None])).mean(dim=1)
    assert torch.allclose(a[:, 9], teller.see[1](F[:, :, 1, 2]), atol=1e-5)
    assert torch.allclose(teller.whole(a, sight), wanted, atol=1e-5)


@torch.no_grad()
def test_attention_is_the_softmax_of_f_att():
    """alpha_1 by the formula of the paper, from a and h_0, place by place."""
    torch.manual_seed(0)
    teller, sight = network(config_of("cnn-attention"), cnn_attention.AttendAndTell).teller, any_sight()
    _, alphas = teller.attend(sight, torch.tensor([[0, 3, 9]]))
    a = teller.annotate(sight)
    h = teller.init_h(teller.whole(a, sight) + teller.overall(teller.numbers(sight)))[0].tanh()
    placed = (a + teller.place(waves(sight)) + teller.many(teller.alike(sight)))[0]
    e = torch.stack([teller.e((teller.of_a(a_i) + teller.of_h(h)).tanh()) for a_i in placed])
    assert torch.allclose(alphas[0, 0], e[:, 0].softmax(dim=0), atol=1e-5)
    assert torch.allclose(alphas.sum(dim=2), torch.ones(1, 3), atol=1e-5)


def test_a_result_fits_the_contract_and_its_file_is_the_same(model, picture):
    """The value is the kind's Result, best first; caption.json in the workdir holds the same."""
    call = Call.of("caption", image=picture(), params={"beams": 5, "alternatives": 2})
    (result,) = model.run([call])
    told = Result.model_validate(result.value)
    assert len(told.alternatives) == 3 and told.caption == told.alternatives[0].caption
    logprobs = [one.logprob for one in told.alternatives]
    assert logprobs == sorted(logprobs, reverse=True)
    assert result.files[0] == call.workdir / "caption.json"
    assert json.loads(result.files[0].read_text()) == result.value
    assert all(file.exists() for file in result.files)


def test_only_attention_shows_where_it_looked(name, model, picture):
    """One tile a word of the best caption, <end> too; of self-attention one a place where something is seen."""
    (result,) = model.run([Call.of("caption", image=picture(), params={"max_tokens": 3})])
    shows = name in ("cnn-attention", "self-attention")
    assert [file.name for file in result.files] == ["caption.json", "attention.png"][: 1 + shows]
    if name == "self-attention":
        sight = model.encode([Image.new("RGB", (SIDE, SIDE), "red")])
        assert Image.open(result.files[1]).width == 164 * sight.features.any(dim=2).sum() - 4
    if name == "cnn-attention":
        width, height = Image.open(result.files[1]).size
        assert width in {164 * tiles - 4 for tiles in (2, 3, 4)} and height == 178


def test_where_nothing_is_seen_nothing_is_said(model, picture):
    """An empty caption, with a warning, and no picture of where it looked."""
    torch.nn.init.constant_(model.network.encoder.what.bias[-1:], 100)
    (result,) = model.run([Call.of("caption", image=picture())])
    assert result.value["alternatives"] == [{"caption": "", "logprob": 0.0}]
    assert "nothing_seen" in [one["code"] for one in result.value["warnings"]]
    assert [file.name for file in result.files] == ["caption.json"]


@pytest.mark.parametrize(("beams", "alternatives", "expected"), [(1, 10, 1), (3, 10, 3), (10, 0, 1), (10, 3, 4)])
def test_alternatives_are_at_most_one_less_than_beams(model, picture, beams, alternatives, expected):
    """The best caption, and as many more as were asked for and found."""
    call = Call.of("caption", image=picture(), params={"beams": beams, "alternatives": alternatives})
    told = [one["caption"] for one in model.run([call])[0].value["alternatives"]]
    assert len(told) == expected and all(told)


def test_a_caption_has_at_most_so_many_tokens_and_one_at_least(model, picture):
    """max_tokens ends it; whatever the length penalty."""
    call = Call.of("caption", image=picture(), params={"max_tokens": 1, "length_penalty": 2.0})
    sight = model.encode([Image.new("RGB", (SIDE, SIDE))])
    assert all(len(one.tokens) == 2 and one.tokens[1] == model.vocabulary.end for one in model.tell(sight, call))


def test_an_unlikely_caption_is_called_doubtful(model, picture):
    """Under the limit of config.json there is a warning that names both numbers, above it none."""
    for model.doubt, expected in ((0.0, 1), (float("-inf"), 0)):
        (result,) = model.run([Call.of("caption", image=picture(size=(60, 60)))])
        doubts = [one for one in result.value["warnings"] if one["code"] == "low_confidence"]
        assert len(doubts) == expected
        assert all(f"{result.value['alternatives'][0]['logprob']:.2f}" in one["detail"] for one in doubts)


def test_each_call_of_a_batch_gets_what_it_would_get_alone(model, picture):
    """Company changes nothing, whatever its params and sizes."""
    asked = [("red", (50, 40), 1), ("blue", (10, 90), 3), ("white", (200, 200), 10)]
    calls = [Call.of("caption", image=picture(colour, size), params={"beams": beams}) for colour, size, beams in asked]
    together = [result.value for result in model.run(calls)]
    alone = [model.run([call])[0].value for call in calls]
    assert [value["caption"] for value in together] == [value["caption"] for value in alone]
    for one, other in zip(together, alone, strict=True):
        assert [a["logprob"] for a in one["alternatives"]] == pytest.approx(
            [a["logprob"] for a in other["alternatives"]], abs=1e-3
        )


def test_a_bad_picture_spoils_only_its_own_call(model, picture, tmp_path):
    """Errors come in the place of their call; the others are told."""
    bad = {"empty.png": b"", "text.png": b"no picture at all", "huge.png": png_header(20_000, 3_000)}
    for file, content in bad.items():
        (tmp_path / file).write_bytes(content)
    paths = [picture(), *(tmp_path / file for file in bad), picture("blue")]
    answers = model.run([Call.of("caption", image=path) for path in paths])
    assert [type(answer) for answer in answers[1:4]] == [InvalidInput, UnsupportedMedia, TooLarge]
    assert answers[0].value["caption"] and answers[4].value["caption"]


def test_no_calls_no_answers(model):
    assert model.run([]) == []


def test_progress_is_reported_in_order(model, picture):
    """From 0 to 1, with words."""
    heard = []
    call = Call.of("caption", image=picture())
    model.run([Call(call.inputs, call.params, call.workdir, report=lambda part, words: heard.append((part, words)))])
    assert [part for part, _ in heard] == sorted(part for part, _ in heard)
    assert heard[0][0] == 0.0 and heard[-1][0] == 1.0 and all(words for _, words in heard)


@pytest.mark.parametrize("asked_before_stop", [0, 1, 3])
def test_a_canceled_call_stops_soon_and_alone(model, picture, asked_before_stop):
    """Before opening, before the first word or in the midst of them; the call beside it is told."""
    asked = []

    def canceled():
        asked.append(True)
        return len(asked) > asked_before_stop

    call = Call.of("caption", image=picture())
    stopped = Call(call.inputs, call.params, call.workdir, canceled=canceled)
    first, second = model.run([stopped, Call.of("caption", image=picture())])
    assert isinstance(first, Canceled) and len(asked) == asked_before_stop + 1
    assert not list(call.workdir.iterdir())
    assert second.value["caption"]


def test_without_weights_the_model_says_what_is_missing(name, tmp_path):
    """No folder, or an empty one."""
    for folder in (None, tmp_path):
        with pytest.raises(ModelFailed, match=r"config\.json"):
            MODELS[name][0].load(folder, "cpu")


def test_things_are_the_last_words():
    """What ties the likelihoods of the encoder to the words of the decoder."""
    assert Vocabulary(THINGS).tokens[-len(THINGS) :] == tuple(THINGS)
