"""Transcribe: speech in, text with times out. The contract; algorithms lie beside this file.

Beside the result, four files: transcript.json (segments, words, times, confidence), .txt, .srt, .vtt.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tasks.inputs import MIB, Limits, Source


class Inputs(BaseModel):
    """What is to be written down."""

    model_config = ConfigDict(extra="forbid")
    audio: Annotated[Source, Limits(max_bytes=1024 * MIB)] = Field(
        description="a recording: wav, mp3, m4a, flac, ogg, opus, webm; at most 1 GiB and 4 hours")


class Params(BaseModel):
    """How."""

    model_config = ConfigDict(extra="forbid")
    language: str = Field("en", pattern=r"^[a-z]{2,3}$", description="ISO 639 code of the language spoken")


class Result(BaseModel):
    """The text and how sure the model is of it."""

    text: str
    language: str
    duration_s: float = Field(ge=0)
    confidence: float | None = Field(None, ge=0, le=1, description="mean of the words' confidence")
