"""Caption: a picture in, a sentence about it out. The contract; algorithms lie beside this file.

Beside the result, one file: caption.json (the caption and its alternatives, with log-probabilities).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tasks.inputs import MIB, Limits, Source


class Inputs(BaseModel):
    """What is to be described."""

    model_config = ConfigDict(extra="forbid")
    image: Annotated[Source, Limits(max_bytes=64 * MIB)] = Field(
        description="a picture: png, jpeg, webp, gif or bmp; at most 64 MiB and 50 megapixels")


class Params(BaseModel):
    """How."""

    model_config = ConfigDict(extra="forbid")
    beams: int = Field(3, ge=1, le=10, description="beam width; 1 is greedy")
    alternatives: int = Field(3, ge=0, le=10, description="how many further captions to return, at most beams - 1")


class Alternative(BaseModel):
    """One caption the model considered, with the natural logarithm of its probability."""

    caption: str
    logprob: float = Field(le=0)


class Result(BaseModel):
    """The best caption; `alternatives` starts with it, best first."""

    caption: str
    alternatives: list[Alternative]
