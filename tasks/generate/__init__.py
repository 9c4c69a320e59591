"""Generate: a prompt in, its continuation out. The contract; algorithms lie beside this file.

Beside the result, one file: text.txt (the generated text).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.inputs import MIB, Limits, Text

Stop = Annotated[str, Field(min_length=1, max_length=100)]


class Inputs(BaseModel):
    """What is to be continued."""

    model_config = ConfigDict(extra="forbid")
    prompt: Annotated[Text, Limits(max_bytes=MIB)] = Field(
        description="the beginning of a text, or {\"url\": source} of one; UTF-8, at most 1 MiB")


class Params(BaseModel):
    """How much, and how freely."""

    model_config = ConfigDict(extra="forbid")
    max_tokens: int = Field(128, ge=1, le=2048, description="tokens to generate at most")
    temperature: float = Field(0.8, ge=0, le=5, allow_inf_nan=False, description="0 takes the likeliest token always")
    top_k: int = Field(0, ge=0, le=100_000, description="choose among the k likeliest tokens; 0 for all")
    top_p: float = Field(1.0, gt=0, le=1, allow_inf_nan=False, description="choose among the likeliest that sum to p")
    stop: list[Stop] = Field([], max_length=4, description="end before any of these texts")
    seed: int = Field(0, ge=0, lt=2**53, description="the same job with the same seed gives the same text")


class Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class Result(BaseModel):
    """The continuation without its prompt. `finish_reason`: 'stop' (a stop text came) or 'length' (max_tokens)."""

    text: str
    finish_reason: Literal["stop", "length"]
    usage: Usage
