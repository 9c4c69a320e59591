"""caption/cnn with the weights that ship: what it says of photographs, what it warns of, batches and errors."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import tasks.caption
from tasks.algorithm import Call, load
from tasks.caption import Result, cnn
from tasks.caption.cnn import middle
from tasks.caption.efficientnet import Norm, Same
from tasks.caption.pictures import open_picture
from tasks.errors import Canceled, InvalidInput, ModelFailed, TooLarge, UnsupportedMedia
from tasks.registry import Registry
from tests.tasks.caption.test_image import png_header

FOLDER = Path(tasks.caption.__file__).parent
SAMPLES, WEIGHTS = FOLDER / "samples", FOLDER / "weights" / "cnn"
CAT, COFFEE = SAMPLES / "chelsea-cat.png", SAMPLES / "coffee.jpg"


@pytest.fixture(scope="module")
def model():
    return load("caption")


def told(model, path, **params):
    (result,) = model.run([Call.of("caption", image=path, params=params)])
    return Result.model_validate(result.value)


def codes(result):
    return {one.code for one in result.warnings}


def test_it_is_the_default(model):
    assert isinstance(model, cnn.Model) and Registry.default().model("caption").name == "cnn"


def test_a_photograph_is_named_where_sure_and_grouped_where_not(model):
    """Coffee is an espresso at .77; of the cat three breeds share .92, which makes it a cat. Neither is warned of."""
    coffee, cat = told(model, COFFEE), told(model, CAT)
    assert (coffee.caption, coffee.warnings) == ("an espresso", [])
    assert (cat.caption, cat.warnings) == ("a cat", [])
    assert [one.caption for one in cat.alternatives] == ["a cat", "a tiger cat", "an Egyptian cat", "a tabby cat"]
    assert cat.alternatives[0].probability == pytest.approx(0.92, abs=0.02)


def test_the_network_is_the_one_that_was_converted(model):
    """The likeliest class and its probability as the source of the weights states them, through its own cropping."""
    cat = open_picture(CAT)
    square = cat.resize((385, 256), Image.Resampling.BICUBIC).crop((80, 16, 304, 240))
    (found,) = model.sort([square])
    assert found.probabilities[[282, 285, 281]] == pytest.approx([0.39, 0.36, 0.17], abs=0.015)
    assert found.probabilities.argmax() == 282 and found.probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("alternatives", [0, 1, 10])
def test_as_many_alternatives_as_asked_for(model, alternatives):
    """Best first, and a logarithm of each probability."""
    found = told(model, CAT, alternatives=alternatives).alternatives
    assert len(found) == 1 + alternatives
    assert [one.logprob for one in found] == sorted((one.logprob for one in found), reverse=True)
    assert all(one.logprob == pytest.approx(math.log(one.probability)) for one in found)


def flat(value):
    return Image.new("RGB", (300, 200), value)


def noise():
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (240, 240, 3), dtype=np.uint8))


def page():
    picture = Image.new("RGB", (500, 400), "white")
    pen = ImageDraw.Draw(picture)
    for y in range(10, 390, 16):
        pen.text((10, y), "The quick brown fox jumps over the lazy dog, and again. " * 2, fill="black")
    return picture


def gradient():
    return Image.merge("RGB", [Image.linear_gradient("L")] * 3)


def circles():
    picture = Image.new("RGB", (300, 300), "orange")
    for n, colour in enumerate(("navy", "green", "white")):
        ImageDraw.Draw(picture).ellipse((40 * n, 50 * n, 40 * n + 120, 50 * n + 120), fill=colour)
    return picture


@pytest.mark.parametrize("make", [lambda: flat("red"), noise, page, gradient, circles])
def test_what_is_no_photograph_is_warned_of(model, saved, make):
    assert "out_of_domain" in codes(told(model, saved(make())))


def test_the_scenes_of_the_other_captioners_are_warned_of(model):
    for path in SAMPLES.glob("scene-*.png"):
        assert "out_of_domain" in codes(told(model, path))


def test_a_vague_caption_is_called_so(model, saved):
    """The outermost groups say next to nothing; the sentence names the likeliest class."""
    found = told(model, SAMPLES / "scene-20000.png")
    assert found.caption == "a man-made thing"
    (doubt,) = [one.detail for one in found.warnings if one.code == "low_confidence"]
    assert found.alternatives[1].caption in doubt


@pytest.mark.parametrize("size", [(7, 7), (1, 300), (3000, 20), (224, 224), (601, 300)])
def test_any_shape_is_read_and_a_long_one_is_told_of(model, saved, size):
    """From twice as long as wide, a sentence says that the middle alone was looked at."""
    assert ("edges_ignored" in codes(told(model, saved(flat("blue").resize(size))))) == (max(size) / min(size) > 2)


def test_only_the_middle_square_counts(model, saved):
    """The cat in the middle of a panorama is what the cat alone is, whatever lies to its left and right."""
    cat = open_picture(CAT)
    wide = Image.new("RGB", (3 * cat.width, cat.height), "red")
    wide.paste(cat, (cat.width, 0))
    assert np.array_equal(np.asarray(middle(wide, 224))[:, 2:-2], np.asarray(middle(cat, 224))[:, 2:-2])
    found = told(model, saved(wide))
    assert found.caption == "a cat" and codes(found) == {"edges_ignored"}


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_a_picture_of_another_mode_is_the_same_photograph(model, saved, mode):
    name = "print.jpg" if mode == "CMYK" else "picture.png"
    assert told(model, saved(open_picture(COFFEE).convert(mode), name)).caption in (
        "an espresso",
        "a drink",
        "food or drink",
    )


def test_a_turned_photograph_is_turned_back(model, saved):
    exif = Image.Exif()
    exif[0x0112] = 8
    turned = saved(open_picture(CAT).transpose(Image.Transpose.ROTATE_270), "turned.jpg", exif=exif, quality=95)
    assert told(model, turned).caption == "a cat"


def test_each_call_of_a_batch_gets_what_it_would_get_alone(model, tmp_path):
    """Errors come in the place of their call; company changes nothing."""
    for name, content in (("empty.png", b""), ("text.png", b"no picture"), ("huge.png", png_header(20_000, 3_000))):
        (tmp_path / name).write_bytes(content)
    paths = [CAT, *(tmp_path / name for name in ("empty.png", "text.png", "huge.png")), COFFEE]
    answers = model.run([Call.of("caption", image=path) for path in paths])
    assert [type(answer) for answer in answers[1:4]] == [InvalidInput, UnsupportedMedia, TooLarge]
    for answer, path in ((answers[0], CAT), (answers[4], COFFEE)):
        alone = told(model, path)
        assert answer.value["caption"] == alone.caption
        assert answer.value["alternatives"][0]["logprob"] == pytest.approx(alone.alternatives[0].logprob, abs=1e-4)


def test_no_calls_no_answers(model):
    assert model.run([]) == []


def test_a_canceled_call_ends_and_the_others_go_on(model):
    stopped = Call.of("caption", image=CAT)
    object.__setattr__(stopped, "canceled", lambda: True)
    first, second = model.run([stopped, Call.of("caption", image=COFFEE)])
    assert isinstance(first, Canceled) and second.value["caption"] == "an espresso"


def test_the_files_are_the_result_and_where_it_looked(model, saved):
    """The cat, at the left of a grey square, is where its map is highest."""
    call = Call.of("caption", image=CAT)
    (result,) = model.run([call])
    assert [file.name for file in result.files] == ["caption.json", "classes.png"]
    assert json.loads(result.files[0].read_text()) == result.value
    assert Image.open(result.files[1]).size == (4 * 164 - 4, 178)
    picture = Image.new("RGB", (224, 224), "grey")
    picture.paste(open_picture(CAT).resize((112, 112)), (0, 56))
    (found,) = model.sort([picture])
    seen = model.activation(found, np.array([281, 282, 285]))
    assert seen.shape == (7, 7) and seen.max() == 1 and seen.min() >= 0
    assert seen[:, :3].sum() > 3 * seen[:, 4:].sum()


def test_a_map_is_the_features_weighed_by_the_full_layer(model):
    """M_c by the formula of the paper, place by place; its mean and the layer's bias are the class's score."""
    (found,) = model.sort([middle(open_picture(COFFEE), 224)])
    w = model.network.fc.weight[967].detach()
    map_ = (w[:, None, None] * found.f).sum(dim=0)
    seen = model.activation(found, np.array([967]))
    assert np.allclose(seen, (map_.clamp(min=0) / map_.max()).numpy(), atol=1e-4)
    score = map_.mean() + model.network.fc.bias[967]
    scores = model.network.fc(found.f.mean(dim=(1, 2)))
    assert score.item() == pytest.approx(scores[967].item(), abs=1e-3)


def test_weights_that_are_not_there_are_named():
    with pytest.raises(ModelFailed, match=r"classes\.txt"):
        cnn.Model.load(None, "cpu")


def test_padding_is_tensorflows_same():
    """Of 4 x 4 with a kernel of 3 and a stride of 2: nothing above, one row below, by hand."""
    layer = Same(1, 1, 3, stride=2)
    torch.nn.init.ones_(layer.weight)
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)
    padded = torch.nn.functional.pad(picture, (0, 1, 0, 1))
    wanted = [[padded[0, 0, y : y + 3, x : x + 3].sum() for x in (0, 2)] for y in (0, 2)]
    assert torch.allclose(layer(picture)[0, 0], torch.tensor(wanted))


def test_how_far_a_map_is_from_training_is_the_divergence_of_two_normal_distributions():
    """By torch's own formula, for each picture of a batch; the output is that of batch normalisation."""
    torch.manual_seed(0)
    layer, x, far = Norm(3).eval(), torch.randn(2, 3, 5, 5) * 2 + 1, []
    layer.running_mean.copy_(torch.tensor([0.0, 1.0, -1.0]))
    layer.running_var.copy_(torch.tensor([1.0, 4.0, 0.25]))
    out = layer(x, far)
    of_picture = torch.distributions.Normal(x.mean(dim=(2, 3)), x.var(dim=(2, 3), correction=0).sqrt())
    of_training = torch.distributions.Normal(layer.running_mean, (layer.running_var + layer.eps).sqrt())
    wanted = torch.distributions.kl_divergence(of_picture, of_training).mean(dim=1)
    assert torch.allclose(far[0], wanted, atol=1e-4)
    assert torch.allclose(out, torch.nn.BatchNorm2d.forward(layer, x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_the_same(model):
    assert told(load("caption", "cnn", device="cuda"), CAT).caption == told(model, CAT).caption
