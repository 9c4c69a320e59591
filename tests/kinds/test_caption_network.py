"""The network and the algorithm around it, with weights at random: shapes, errors, reports. No training needed."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tasks.algorithm import Call
from tasks.caption import Result
from tasks.caption.cnn_lstm import Captioner, Model, moments
from tasks.caption.vocabulary import Vocabulary
from tasks.errors import Canceled, InvalidInput, ModelFailed, TooLarge, UnsupportedMedia
from tests.kinds.test_caption_image import png_header

THINGS = ["cat", "dog", "ox"]
SIDE, SIZE = 32, 16


@pytest.fixture
def weights(tmp_path):
    """A folder of weights as the recipe writes one, at random."""
    torch.manual_seed(0)
    folder = tmp_path / "weights"
    folder.mkdir()
    network = Captioner(len(Vocabulary(THINGS)), len(THINGS), [4, 6, 8], SIZE)
    save_file({name: value.half() if value.is_floating_point() else value
               for name, value in network.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"side": SIDE, "widths": [4, 6, 8], "size": SIZE, "things": THINGS}))
    return folder


@pytest.fixture
def model(weights):
    return Model.load(weights, "cpu")


@pytest.fixture
def picture(tmp_path):
    """A path of a small picture of one colour."""
    def save(colour="red", size=(50, 40)):
        path = tmp_path / f"{colour}-{size[0]}x{size[1]}.png"
        Image.new("RGB", size, colour).save(path)
        return path
    return save


def test_encoder_and_decoder_shapes():
    """Pictures (batch, 3, side, side) and tokens (batch, length) give logits of every next token, and a map."""
    network = Captioner(13, 3, [4, 6, 8], SIZE)
    logits, seen = network(torch.zeros(5, 3, SIDE, SIDE), torch.zeros(5, 7, dtype=torch.int64))
    assert logits.shape == (5, 7, 13) and seen.shape == (5, 3 + 1, SIDE // 8, SIDE // 8)
    assert network.show(seen).shape == (5, SIZE)


def test_telling_token_by_token_is_teacher_forcing(model):
    """step() after begin() gives the same log-probabilities as forward() over the whole caption."""
    tokens = torch.tensor([[0, 3, 9, 5]])
    with torch.no_grad():
        logits, seen = model.network(torch.randn(1, 3, SIDE, SIDE), tokens)
        state = model.network.begin(model.network.show(seen))
        for n in range(tokens.shape[1]):
            scores, state = model.network.step(tokens[:, n], state)
            assert torch.allclose(scores, logits[:, n].log_softmax(dim=-1), atol=1e-5)


def test_moments_are_numbers_and_places():
    """Two cats in opposite corners and a dog in the middle of a 5 x 5 map, each certain: counted and placed."""
    M = torch.full((1, 3, 5, 5), -40.0)
    M[0, 2] = 0.0  # nothing
    for thing, row, column in ((0, 0, 0), (0, 4, 4), (1, 2, 2)):
        M[0, thing, row, column], M[0, 2, row, column] = 40.0, -40.0
    each, everything = moments(M)
    assert torch.allclose(each, torch.tensor([[[2.0, 1.0], [0.0, 0.0], [0.0, 0.0]]]), atol=1e-5)
    assert torch.allclose(everything, torch.tensor([[3.0, 1.28 / 3.1, 1.28 / 3.1]]), atol=1e-5)


def test_what_is_left_of_what_reaches_the_picture_vector():
    """A cat left of a dog and a dog left of a cat are the same numbers, but not the same v."""
    torch.manual_seed(0)
    network = Captioner(len(Vocabulary(THINGS)), len(THINGS), [4, 6, 8], SIZE)
    M = torch.full((2, 4, 1, 2), -40.0)
    M[0, 0, 0, 0] = M[0, 1, 0, 1] = M[1, 1, 0, 0] = M[1, 0, 0, 1] = 40.0
    one, other = network.show(M)
    assert torch.allclose(*moments(M)[0][:, 0]) and not torch.allclose(one, other, atol=0.1)


def test_a_result_fits_the_contract_and_its_file_is_the_same(model, picture):
    """The value is the kind's Result, best first; caption.json in the workdir holds the same."""
    call = Call.of("caption", image=picture(), params={"beams": 5, "alternatives": 2})
    (result,) = model.run([call])
    told = Result.model_validate(result.value)
    assert len(told.alternatives) == 3 and told.caption == told.alternatives[0].caption
    logprobs = [one.logprob for one in told.alternatives]
    assert logprobs == sorted(logprobs, reverse=True)
    assert list(result.files) == [call.workdir / "caption.json"]
    assert json.loads(result.files[0].read_text()) == result.value


@pytest.mark.parametrize(("beams", "alternatives", "expected"), [(1, 10, 1), (3, 10, 3), (10, 0, 1), (10, 3, 4)])
def test_alternatives_are_at_most_one_less_than_beams(model, picture, beams, alternatives, expected):
    """The best caption, and as many more as were asked for and found."""
    call = Call.of("caption", image=picture(), params={"beams": beams, "alternatives": alternatives})
    told = [one["caption"] for one in model.run([call])[0].value["alternatives"]]
    assert len(told) == expected and all(told)


def test_each_call_of_a_batch_gets_what_it_would_get_alone(model, picture):
    """Company changes nothing, whatever its params and sizes."""
    asked = [("red", (50, 40), 1), ("blue", (10, 90), 3), ("white", (200, 200), 10)]
    calls = [Call.of("caption", image=picture(colour, size), params={"beams": beams}) for colour, size, beams in asked]
    together = [result.value for result in model.run(calls)]
    alone = [model.run([call])[0].value for call in calls]
    assert [value["caption"] for value in together] == [value["caption"] for value in alone]
    for one, other in zip(together, alone, strict=True):
        assert [a["logprob"] for a in one["alternatives"]] == pytest.approx(
            [a["logprob"] for a in other["alternatives"]], abs=1e-3)


def test_a_bad_picture_spoils_only_its_own_call(model, picture, tmp_path):
    """Errors come in the place of their call; the others are told."""
    bad = {"empty.png": b"", "text.png": b"no picture at all", "huge.png": png_header(20_000, 3_000)}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    paths = [picture(), *(tmp_path / name for name in bad), picture("blue")]
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


def test_without_weights_the_model_says_what_is_missing(tmp_path):
    """No folder, or an empty one."""
    for folder in (None, tmp_path):
        with pytest.raises(ModelFailed, match="model.safetensors"):
            Model.load(folder, "cpu")
