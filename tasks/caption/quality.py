"""How good a picture is, before anyone looks at what it shows: size, light, blur; and what to warn of.

Knows nothing of networks or captions. The measures are in the contract (Quality in __init__.py). The limits were set
by measuring: 7 daylight photographs and 300 aerial ones have a brightness of 0.21 and more (one in a hundred less), a
contrast of 0.13 (likewise) and a sharpness of 0.57; a camera trap's picture by night has a brightness of 0.20; the same
photographs blurred by 2 of 256 pixels have a sharpness of 0.31 to 0.43 (one of 128 pixels, which is enlarged, 0.61).

Sharpness is after Crete, Dolmiere, Ladret, Nicolas, 'The Blur Effect' (2007): a picture that is blurred once more
changes much if it was sharp, little if it was blurred already.
"""

import numpy as np
from PIL import Image, ImageFilter

from tasks.warning import warning

SIDE = 256  # pixels of the longer side that light and blur are measured at
DARK, BRIGHT = 0.05, 0.98  # luma
SMALLEST = 48  # pixels of the shorter side
DIM, GLARING = 0.21, 0.85  # brightness
FLAT = 0.1  # contrast
TOO_MUCH = 0.5  # of the picture that is black, or white
BLURRED = 0.42  # sharpness


def measure(picture: Image.Image) -> dict[str, float]:
    """The fields of Quality, of an upright RGB picture."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    luma = np.asarray(small.convert("L"), dtype=np.float32) / 255
    low, high = np.percentile(luma, (5, 95))
    return {
        "width": picture.width,
        "height": picture.height,
        "brightness": _rounded(luma.mean()),
        "contrast": _rounded(high - low),
        "dark": _rounded((luma < DARK).mean()),
        "bright": _rounded((luma > BRIGHT).mean()),
        "sharpness": _rounded(sharpness(small.convert("L"))),
    }


def sharpness(grey: Image.Image) -> float:
    """1 less Crete's blur effect, of the direction that is sharper; 0 where nothing changes at all."""
    return max(_along(grey, (9, 1)), _along(grey, (1, 9)))


def _along(grey: Image.Image, box: tuple[int, int]) -> float:
    """How much of the change along one axis a mean over nine pixels of it takes away."""
    axis = 1 if box[0] > 1 else 0
    sharp = np.asarray(grey, dtype=np.float32)
    blurred = np.asarray(grey.filter(ImageFilter.BoxBlur(((box[0] - 1) / 2, (box[1] - 1) / 2))), dtype=np.float32)
    before, after = (np.abs(np.diff(pixels, axis=axis)) for pixels in (sharp, blurred))
    lost = np.maximum(before - after, 0).sum()
    return float(lost / before.sum()) if before.sum() else 0.0


def warnings(quality: dict[str, float]) -> list[dict[str, str]]:
    """Reasons to mistrust a caption of such a picture, {"code", "detail"} each."""
    width, height, sharp = quality["width"], quality["height"], quality["sharpness"]
    light, black, white = quality["brightness"], quality["dark"], quality["bright"]
    small = f"the picture is small: {width} x {height} pixels, a side under {SMALLEST}"
    flat = f"the picture is flat: its contrast is {quality['contrast']:.2f}, under {FLAT}"
    blurred = f"the picture is blurred: its sharpness is {sharp:.2f}, under {BLURRED}"
    reasons = [
        (min(width, height) < SMALLEST, warning("small_picture", small)),
        (light < DIM, warning("dark_picture", f"the picture is dark: its brightness is {light:.2f}, under {DIM}")),
        (
            light > GLARING,
            warning("bright_picture", f"the picture is glaring: its brightness is {light:.2f}, over {GLARING}"),
        ),
        (quality["contrast"] < FLAT, warning("flat_picture", flat)),
        (black > TOO_MUCH, warning("dark_picture", f"{black:.0%} of the picture is black")),
        (white > TOO_MUCH, warning("bright_picture", f"{white:.0%} of the picture is white")),
        (sharp < BLURRED, warning("blurred_picture", blurred)),
    ]
    return [reason for holds, reason in reasons if holds]


def _rounded(value: float) -> float:
    return round(float(value), 4)
