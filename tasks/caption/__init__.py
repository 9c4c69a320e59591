"""Caption: a picture in, a sentence about it out. The contract; algorithms lie beside this file.

Beside the result, files: caption.json (the same), and a picture of where the model looked: classes.png of cnn (for the
caption and the likeliest classes), attention.png of cnn-attention (word by word) and of
self-attention (the places that each place with something looked at).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tasks.inputs import MIB, Limits, Source
from tasks.warning import Warned

TEXT = "caption"
"""The field of a result that other jobs take as its text."""
WARNINGS = {
    "small_picture": "a side of the picture has fewer pixels than captions can be trusted for",
    "dark_picture": "the picture is dark, or most of it is black",
    "bright_picture": "the picture is glaring, or most of it is white",
    "flat_picture": "the picture has little contrast",
    "blurred_picture": "the picture is out of focus or moved",
    "nothing_seen": "the picture shows nothing that the model knows; the caption is empty",
    "nothing_said": "a model of the hub ended its caption before the first word",
    "caption_cut": "the caption breaks off at max_tokens",
    "question_guessed": "a model of the hub does not say how it is to be asked; its words were guessed",
    "low_confidence": "the model itself finds its caption unlikely, or has no more than a general word",
    "picture_damaged": "the file is cut short or damaged; what is whole of the picture, half at least, was looked at",
    "frames_ignored": "the file has several pictures or frames, or is a video; only the first was looked at",
    "edges_ignored": "the picture is so long that only the square in its middle was looked at",
    "out_of_domain": "the picture is unlike what the model was made for; its caption may be of something else",
}


# Which algorithms take a parameter; one that is not named here is for all.
SEARCHES = ("cnn-lstm", "cnn-attention", "self-attention", "transformer", "hf")
ONLY: dict[str, tuple[str, ...]] = {"beams": SEARCHES, "length_penalty": SEARCHES, "max_tokens": SEARCHES}


class Inputs(BaseModel):
    """What is to be described."""

    model_config = ConfigDict(extra="forbid")
    image: Annotated[Source, Limits(max_bytes=64 * MIB)] = Field(
        description="a picture: png, jpeg, webp, gif, bmp, tiff, avif or heic, or the first frame of a video (mp4, "
        "mov, webm, mkv, avi); at most 64 MiB and 50 megapixels"
    )


class Params(BaseModel):
    """How."""

    model_config = ConfigDict(extra="forbid")
    beams: int = Field(3, ge=1, le=10, description="beam width; 1 is greedy")
    alternatives: int = Field(
        3, ge=0, le=10, description="how many further captions to return; of a search at most beams - 1"
    )
    length_penalty: float = Field(
        0.0,
        ge=0,
        le=2,
        description="captions are compared by log-probability / tokens ** "
        "this: 0 the likeliest caption, above it longer ones gain",
    )
    max_tokens: int = Field(
        40,
        ge=1,
        le=200,
        description="longest caption, in the model's tokens; a caption still unfinished is ended there",
    )


class Alternative(BaseModel):
    """One caption the model considered, with the natural logarithm of its probability; from cnn the latter too."""

    caption: str
    logprob: float = Field(le=0)
    probability: float | None = Field(None, ge=0, le=1)


class Quality(BaseModel):
    """How good the picture itself is. Light and sharpness are measured at 256 pixels; luma 0 is black, 1 white.

    An empty surface has no sharpness: it is 0 there, and says nothing of the lens.
    """

    width: int = Field(description="pixels, upright")
    height: int = Field(description="pixels, upright")
    brightness: float = Field(ge=0, le=1, description="mean luma")
    contrast: float = Field(ge=0, le=1, description="luma's 95th less its 5th percentile")
    dark: float = Field(ge=0, le=1, description="share of pixels with luma below 0.05")
    bright: float = Field(ge=0, le=1, description="share of pixels with luma above 0.98")
    sharpness: float = Field(
        ge=0,
        le=1,
        description="the share of the change between neighbours that a mean over "
        "nine pixels takes away; photographs in focus have 0.57 and more",
    )


class Result(BaseModel):
    """The best caption; `alternatives` starts with it, best first, where the model considers more than one.

    `quality` is null where the model does not measure the picture. `warnings`: reasons not to trust it.
    The caption is empty where the picture shows nothing that the model knows; a warning says so.
    """

    caption: str
    alternatives: list[Alternative] = []
    quality: Quality | None = None
    warnings: list[Warned] = []
