"""What is measured of a picture before it is told, and what is warned of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

import tasks.caption
from tasks.caption import Quality
from tasks.caption.pictures import open_picture
from tasks.caption.quality import measure, sharpness, warnings

SAMPLES = Path(tasks.caption.__file__).parent / "samples"
PHOTOGRAPHS = ("chelsea-cat.png", "coffee.jpg", "elephants-exif-orientation-6.jpg")
SLOPE = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))


@pytest.fixture(scope="module", params=PHOTOGRAPHS)
def photograph(request):
    return open_picture(SAMPLES / request.param)


def test_light_is_measured_as_it_is_by_hand():
    """A quarter black, a quarter white, half of middle grey."""
    picture = Image.new("RGB", (200, 200), (128, 128, 128))
    picture.paste((0, 0, 0), (0, 0, 50, 200))
    picture.paste((255, 255, 255), (150, 0, 200, 200))
    found = measure(picture)
    Quality.model_validate(found)
    assert (found["width"], found["height"]) == (200, 200)
    assert (found["dark"], found["bright"]) == pytest.approx((0.25, 0.25), abs=0.01)
    assert found["brightness"] == pytest.approx(0.5, abs=0.01) and found["contrast"] == 1.0


def test_an_even_slope_is_as_blurred_as_can_be_and_single_pixels_as_sharp():
    """A mean of nine pixels leaves a slope as it was, and of a checkerboard a ninth."""
    board = Image.fromarray((np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8))
    assert sharpness(SLOPE) < 0.05 and sharpness(board) == pytest.approx(8 / 9, abs=0.02)
    assert sharpness(Image.new("L", (64, 64), 90)) == 0.0


def test_blurring_a_photograph_makes_it_less_and_less_sharp_until_it_is_warned_of(photograph):
    """In focus there is no warning; of a hundredth of the longer side, there is."""
    unit = max(photograph.size) / 256
    pictures = [photograph, *(photograph.filter(ImageFilter.GaussianBlur(radius * unit)) for radius in (1, 2, 3))]
    found = [measure(picture) for picture in pictures]
    assert [one["sharpness"] for one in found] == sorted((one["sharpness"] for one in found), reverse=True)
    assert warnings(found[0]) == []
    assert "blurred_picture" in [one["code"] for one in warnings(found[3])]


def test_a_dark_or_glaring_or_flat_photograph_is_warned_of(photograph):
    """Each fault by its own words."""
    black, white = (Image.new("RGB", photograph.size, colour) for colour in ("black", "white"))
    for faulty, word in (
        (ImageEnhance.Brightness(photograph).enhance(0.2), "dark"),
        (Image.blend(photograph, white, 0.9), "glaring"),
        (ImageEnhance.Contrast(photograph).enhance(0.05), "flat"),
        (Image.blend(photograph, black, 0.99), "black"),
    ):
        assert any(word in one["detail"] for one in warnings(measure(faulty))), word


def test_a_tiny_picture_is_warned_of():
    """The words name its size and the limit."""
    found = {one["code"]: one["detail"] for one in warnings(measure(SLOPE.convert("RGB").resize((40, 30))))}
    assert "40 x 30" in found["small_picture"] and "48" in found["small_picture"]


@pytest.mark.data("images/photos")
def test_a_night_picture_is_called_dark_and_daylight_is_not(real_data):
    """The photographs of the data folder: only the camera trap's bear, by infrared, has a warning."""
    photos = real_data / "images" / "photos"
    warned = {
        path.name: warnings(measure(open_picture(path))) for path in photos.iterdir() if path.suffix in (".jpg", ".png")
    }
    assert len(warned) == 8 and [name for name, found in warned.items() if found] == ["black-bear.jpg"]
    assert "dark" in warned["black-bear.jpg"][0]["detail"]
