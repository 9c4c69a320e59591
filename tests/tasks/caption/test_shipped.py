"""The weights that are shipped: they load as a worker loads them, and tell what their cards say they tell."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tasks.caption
from tasks.algorithm import Call, load
from tasks.caption import Result
from tasks.caption.pictures import open_picture
from tasks.caption.training import card as train_card
from tasks.caption.training import encoder as train_encoder
from tasks.caption.training.card import TEST_SCENES, score, tell
from tasks.caption.training.scenes import SAMPLE_SEEDS, TEST_SEEDS, Composer
from tasks.caption.vocabulary import sentence

FOLDER = Path(tasks.caption.__file__).parent
SAMPLES, WEIGHTS = FOLDER / "samples", FOLDER / "weights"
NAMES = ("cnn-lstm", "cnn-attention", "self-attention", "transformer")
MAX_BYTES = 12_000_000

SCENES = {
    "scene-20000.png": "a camera to the left of two hammers",
    "scene-20001.png": "a ferry above a joker",
    "scene-20002.png": "a tomato to the left of a postbox",
    "scene-20003.png": "three newspapers to the left of a candy",
}


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return load("caption", request.param)


def card(model):
    return (WEIGHTS / model.name / "CARD.md").read_text()


def test_each_sample_is_told_as_the_card_says(model):
    """The last table of the card, line by line; of the four scenes, as the seeds came, three at least are right."""
    told = re.findall(r"^\| (\S+\.(?:png|jpg)) \| (.*?) \| (-?[\d.]+) \| (.*?) ?\|$", card(model), re.MULTILINE)
    assert len(told) == len(SCENES) + 3
    results = model.run([Call.of("caption", image=SAMPLES / name) for name, *_ in told])
    for (_, caption, logprob, warnings), result in zip(told, results, strict=True):
        found = Result.model_validate(result.value)
        assert found.caption == caption and "; ".join(one.detail for one in found.warnings) == warnings
        assert found.alternatives[0].logprob == pytest.approx(float(logprob), abs=0.02)
    assert sum(SCENES.get(name) == caption for name, caption, *_ in told) >= 3


def test_a_training_looks_beside_the_algorithms():
    """Decoders learn from the encoder that its own training leaves there, and cards tell those samples."""
    assert train_encoder.FOLDER == WEIGHTS / "encoder" and train_card.SAMPLES == SAMPLES


@pytest.mark.data("images/emoji")
def test_the_samples_are_the_scenes_that_their_sources_say(real_data):
    """Who opens the folder finds what each shows; they are drawn from SAMPLE_SEEDS, pixel for pixel."""
    sources = (SAMPLES / "SOURCES.txt").read_text()
    composer = Composer.read(real_data / "images" / "emoji")
    for seed, (name, caption) in zip(SAMPLE_SEEDS, SCENES.items(), strict=False):
        scene = composer.scene(seed, "new")
        assert re.search(rf"{re.escape(name)} .*{caption}", sources) and sentence(scene.tokens) == caption
        assert np.array_equal(np.asarray(composer.draw(scene, 192)), np.asarray(Image.open(SAMPLES / name)))


def test_attention_looks_at_the_thing_it_names():
    """Of the ferry above the joker: the map of 'ferry' lies in the upper half, that of 'joker' in the lower."""
    model = load("caption", "cnn-attention")
    sight = model.encode([open_picture(SAMPLES / "scene-20001.png").resize((model.side, model.side))])
    (best, *_) = model.tell(sight, Call.of("caption"))
    with torch.inference_mode():
        _, alphas = model.network.teller.attend(sight, torch.tensor([[model.vocabulary.start, *best.tokens]]))
    rows = (alphas[0] @ sight.y[0]).tolist()
    tokens = [model.vocabulary.tokens[n] for n in best.tokens]
    assert rows[tokens.index("ferry")] < 0 < rows[tokens.index("joker")]


def test_self_attention_shows_a_tile_for_each_thing():
    """Of the ferry above the joker two: each with the places that it looked at, which sum to one."""
    model = load("caption", "self-attention")
    call = Call.of("caption", image=SAMPLES / "scene-20001.png")
    (result,) = model.run([call])
    assert [file.name for file in result.files] == ["caption.json", "attention.png"]
    assert Image.open(result.files[1]).size == (2 * 164 - 4, 178)
    sight = model.encode([open_picture(SAMPLES / "scene-20001.png").resize((model.side, model.side))])
    with torch.inference_mode():
        A = model.network.teller.recombined(sight)[1][0]
    assert torch.allclose(A[:, :2, :2].sum(dim=2), torch.ones(4, 2), atol=1e-5)
    assert not torch.allclose(A[:, :2, :2], torch.full((4, 2, 2), 0.5), atol=0.05)  # it has learned where to look


def test_the_elephants_are_opened_upright():
    """Stored 240 x 320 on its side, EXIF orientation 6: upright it is 320 x 240, sky above."""
    assert open_picture(SAMPLES / "elephants-exif-orientation-6.jpg").size == (320, 240)


def test_the_weights_are_small_and_hold_no_code():
    """Safetensors, JSON, text and a picture; nothing that unpickling could run."""
    for name in NAMES:
        files = [path for path in (WEIGHTS / name).rglob("*") if path.is_file()]
        wanted = {"model.safetensors", "domain.safetensors", "config.json", "CARD.md", "curves.png"}
        assert {path.name for path in files} == wanted
        assert sum(path.stat().st_size for path in files) < MAX_BYTES


@pytest.mark.data("images/emoji")
def test_unseen_scenes_come_out_as_the_card_says(model, real_data):
    """On 100 new compositions that the card did not use; 15 points are three standard deviations of such a sample."""
    composer = Composer.read(real_data / "images" / "emoji")
    shown = [composer.scene(seed, "new") for seed in TEST_SEEDS[TEST_SCENES : TEST_SCENES + 100]]
    found = score(shown, tell(model, composer, shown, beams=1).tokens)
    row = re.search(r"\| new compositions, greedy \| ([\d.]+)% \| ([\d.]+)% \|", card(model))
    assert found.exact == pytest.approx(float(row[1]) / 100, abs=0.15)
    assert found.things == pytest.approx(float(row[2]) / 100, abs=0.15)
