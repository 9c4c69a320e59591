"""Generate: a prompt in, its continuation out, or its meaning as a vector. The contract; algorithms lie beside it.

Beside the result: text.txt (the generated text), choices.json where `n` is more than 1, and for `mode: embed`
embedding.json alone.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.inputs import MIB, Limits, Text
from tasks.text import blank
from tasks.warning import Warned

if TYPE_CHECKING:
    from tasks.registry import Model

Stop = Annotated[str, Field(min_length=1, max_length=100)]
ONLY = {"on_long_prompt": ("transformer", "hf")}  # recurrent models have no context to overflow
TEXT = "text"
"""The field of a result that other jobs take as its text."""
PROSE = ("lstm", "rnn", "transformer")
"""Algorithms that continue a text and know no conversation."""
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
"""Names, beside tokenizer_config.json, under which a folder of transformers keeps chat templates."""
PROMPT_ONLY = "mode embed reads a prompt, not messages"
NO_TEMPLATE = "this model's tokenizer has no chat template: give a prompt, not messages"
EMBEDS_ONLY = "this model embeds and writes nothing: set mode to 'embed'"
EMPTY = "the prompt is empty: give at least one character that can be seen"
OWN = "; left out, a checkpoint's own value is taken where it has one"  # its generation_config's
WARNINGS: dict[str, str] = {
    "out_of_domain": "the model was not made for this prompt: its vocabulary has no tokens for parts of it",
    "prompt_cut": "the prompt is longer than the model reads: only its end was read (by an embedder, its beginning)",
    "sampling_ignored": "the checkpoint asks for a way to choose tokens that this service does not have",
}


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=100_000)


class Inputs(BaseModel):
    """What is to be continued: a prompt, or a conversation."""

    model_config = ConfigDict(extra="forbid")
    prompt: Annotated[Text, Limits(max_bytes=MIB)] = Field(
        None, description='the beginning of a text, or {"url": source} of one; UTF-8, at most 1 MiB'
    )
    messages: list[Message] = Field(
        None,
        min_length=1,
        max_length=1000,
        description="in place of a prompt: a conversation to answer, for models with a chat template",
    )

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: Text) -> Text:
        if isinstance(prompt, str) and blank(prompt):
            raise ValueError(EMPTY)
        return prompt

    @field_validator("messages")
    @classmethod
    def _somebody_says_something(cls, messages: list[Message]) -> list[Message]:
        if messages and all(blank(message.content) for message in messages):
            raise ValueError("the conversation is empty: give at least one message with a character that can be seen")
        return messages

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "Inputs":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either a prompt or messages" + ("" if self.prompt is None else ", not both"))
        return self


class Params(BaseModel):
    """How much, and how freely."""

    model_config = ConfigDict(extra="forbid")
    mode: Literal["generate", "embed"] = Field(
        "generate", description="'embed' answers what the prompt means, as a vector of length 1"
    )
    max_tokens: int = Field(128, ge=1, le=2048, description="tokens to generate at most, of each choice")
    temperature: float = Field(
        0.8, ge=0, le=5, allow_inf_nan=False, description=f"0 takes the likeliest token always{OWN}"
    )
    top_k: int = Field(0, ge=0, le=100_000, description=f"choose among the k likeliest tokens; 0 for all{OWN}")
    top_p: float = Field(
        1.0, gt=0, le=1, allow_inf_nan=False, description=f"choose among the likeliest that sum to p{OWN}"
    )
    repetition_penalty: float = Field(
        1.0,
        ge=0.1,
        le=10,
        allow_inf_nan=False,
        description=f"above 1, tokens the text has already are less likely{OWN}",
    )
    stop: list[Stop] = Field([], max_length=4, description="end before any of these texts")
    seed: int = Field(0, ge=0, lt=2**53, description="the same job with the same seed gives the same text")
    n: int = Field(1, ge=1, le=16, description="how many continuations; the first is that of n = 1")
    on_long_prompt: Literal["refuse", "cut"] = Field(
        "refuse",
        description="a prompt longer than the model's context: 'cut' reads its end (an embedder, its beginning)",
    )


class Usage(BaseModel):
    """Tokens; of all choices together."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


FinishReason = Literal["stop", "length"]


class Choice(BaseModel):
    """A continuation without its prompt. `finish_reason`: 'stop' (a stop text came, or the model ended the text) or
    'length' (max_tokens, or the model's context is full)."""

    text: str
    finish_reason: FinishReason


class Result(BaseModel):
    """`text` and `finish_reason` are those of the first choice. With `mode: embed`, an `embedding` and no choice."""

    text: str | None = None
    finish_reason: FinishReason | None = None
    choices: list[Choice] = []
    embedding: list[float] | None = None
    usage: Usage
    warnings: list[Warned] = []


def foreseen(inputs: Inputs, params: Params, model: "Model") -> Iterator[tuple[str, str]]:
    """Reasons for which a job would fail for certain. Of weights that lie elsewhere nothing is known."""
    if "." in model.algorithm:
        return
    if inputs.messages is not None and params.mode == "embed":
        yield "/input/messages", PROMPT_ONLY
    elif inputs.messages is not None and model.algorithm in PROSE:
        yield "/input/messages", no_conversation(model.name)
    elif model.algorithm == "hf" and params.mode == "generate" and (folder := model.weights_path()):
        if _only_embeds(folder):
            yield "/params/mode", EMBEDS_ONLY
        elif inputs.messages is not None and not _may_chat(folder):
            yield "/input/messages", NO_TEMPLATE


def no_conversation(name: str) -> str:
    return f"{name} continues a text and knows no conversation: give a prompt, not messages"


@functools.cache
def _only_embeds(folder: Path) -> bool:
    """True of a folder of sentence-transformers."""
    return (folder / "modules.json").is_file()


@functools.cache
def _may_chat(folder: Path) -> bool:
    """False where the folder is at hand and has no chat template."""
    try:
        told = json.loads((folder / "tokenizer_config.json").read_bytes())
        return bool(told.get("chat_template")) or any((folder / name).exists() for name in TEMPLATES)
    except (OSError, ValueError, AttributeError):
        return True
