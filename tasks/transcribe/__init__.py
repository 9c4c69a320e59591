"""Transcribe: speech in, text with times out. The contract; algorithms lie beside this file.

Beside the result, four files: transcript.json (segments with their fit, words, times, confidence), .txt, .srt, .vtt.
"""

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.errors import InvalidInput
from tasks.inputs import MIB, Limits, Source
from tasks.text import blank
from tasks.transcribe.grammar import of_jsgf
from tasks.warning import Warned

if TYPE_CHECKING:
    from tasks.registry import Model

TEXT = "text"
"""The field of a result that other jobs take as its text."""
ENGLISH = ("hmm", "hmm-words", "rnn", "dnn")
"""Algorithms that know English alone."""
NAMED = 120
"""Languages that an error names at most."""
JUDGED_MAX = 4096
"""Characters of a grammar that is read at submit, in milliseconds; a longer one is read, and refused, in the job."""


class Inputs(BaseModel):
    """What is to be written down."""

    model_config = ConfigDict(extra="forbid")
    audio: Annotated[Source, Limits(max_bytes=1024 * MIB)] = Field(
        description="a recording: wav, mp3, m4a, aac, flac, ogg, opus, wma, aiff, caf, au, amr, ac3, or the sound of "
        "mp4, mov, 3gp, mkv, webm, avi, flv, wmv, ts, mpg; at most 1 GiB and 4 hours"
    )


class Params(BaseModel):
    """How."""

    model_config = ConfigDict(extra="forbid")
    language: str | None = Field(
        None,
        pattern=r"^[a-z]{2,3}$",
        description="ISO 639 code of the language spoken; without it English, or what the model knows instead",
    )
    denoise: Literal["off", "spectral"] = Field(
        "off", description="whether steady noise is taken out of the spectrum before anything is recognised"
    )
    track: int | None = Field(
        None,
        ge=0,
        le=999,
        description="number of the file's audio track, from 0; without it the one marked as default, else the first",
    )
    damaged: Literal["allow", "refuse"] = Field(
        "allow",
        description="a recording that is cut short or damaged: what there is of it with a warning, or a failure",
    )
    grammar: str | None = Field(
        None,
        min_length=1,
        max_length=16_384,
        description="a JSGF grammar: nothing but sentences of its public rules is recognised",
    )
    words: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(
        None, min_length=1, max_length=1000, description="nothing but these words is recognised, in any order"
    )
    beams: int = Field(
        16,
        ge=1,
        le=64,
        description="texts that the search keeps at a time; 1: the likeliest sign of each step, no search",
    )
    language_model: bool = Field(True, description="whether the weights' word model has a say in the search")

    @field_validator("grammar")
    @classmethod
    def _is_a_grammar(cls, text: str | None) -> str | None:
        if text is not None and len(text) <= JUDGED_MAX:
            try:
                of_jsgf(text)
            except InvalidInput as error:
                raise ValueError(error.detail) from error
        return text

    @field_validator("words")
    @classmethod
    def _are_words(cls, words: list[str] | None) -> list[str] | None:
        if any(map(blank, words or ())):
            raise ValueError("one of the words is empty: give each at least one character that can be seen")
        return words

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "Params":
        if self.grammar is not None and self.words is not None:
            raise ValueError("give a grammar or words, not both")
        return self


# Which algorithms take a parameter; one that is not named here is for all.
ONLY: dict[str, tuple[str, ...]] = {
    "grammar": ("hmm",),
    "words": ("hmm",),
    "beams": ("rnn", "dnn"),
    "language_model": ("rnn", "dnn"),
}

WARNINGS = {
    "audio_cut": "the recording breaks off before its file says that it ends; what there is was heard",
    "audio_damaged": "parts of the recording cannot be decoded; they are not heard",
    "channels_cancel": "the channels of the recording cancel each other; where they do, one alone was heard",
    "clock_jumps": "the time stamps of the file go back, or far ahead; times of words count on from there",
    "sizes_wrong": "the header says that there is less sound than the file has; all of it was heard",
    "language_unknown": "the model's folder does not say which languages it knows; the one asked for changed nothing",
    "text_cut": "a stretch has more words than the model writes at once; its end is not in the text",
    "tracks_ignored": "the file has several audio tracks, of which one was heard; the detail names the others",
    "no_speech": "no word was heard in the recording, and the text is empty",
    "out_of_domain": "stretches of the recording are unlike what the model learned; the detail says when, and the "
    "confidence of their words is lowered",
}


class Result(BaseModel):
    """The text and how sure the model is of it."""

    text: str
    language: str = Field(description="the language heard; 'und' where nothing says which languages the model knows")
    duration_s: float = Field(ge=0)
    confidence: float | None = Field(None, ge=0, le=1, description="mean of the words' confidence")
    warnings: list[Warned] = []


def foreseen(inputs: Inputs, params: Params, model: "Model") -> Iterator[tuple[str, str]]:
    """Reasons for which a job would fail for certain. Of weights that lie elsewhere nothing is known."""
    if params.language is None:
        return
    known = ("en",) if model.algorithm in ENGLISH else _of_whisper(model)
    if known and params.language not in known:
        yield "/params/language", not_known(params.language, known)


def not_known(asked: str | None, known: Sequence[str]) -> str:
    """The sentence for a language that the model does not know, or, where none was asked for, that one is wanted."""
    more = len(known) - NAMED
    told = ", ".join(known[:NAMED]) + (f" and {more:,} more" if more > 0 else "")
    told = "English ('en')" if tuple(known) == ("en",) else told
    wanted = f"language {asked!r} was asked for" if asked else "name one of them as `language`"
    return f"this model knows {told}{' only' if more <= 0 else ''}; {wanted}"


def _of_whisper(model: "Model") -> tuple[str, ...]:
    """The languages of a Whisper whose folder is at hand and names them; else none."""
    folder = model.weights_path() if model.algorithm == "whisper" else None
    return _languages(folder) if folder else ()


@functools.cache
def _languages(folder: Path) -> tuple[str, ...]:
    """As tasks/transcribe/languages.py finds them in the generation config."""
    try:
        kind = json.loads((folder / "config.json").read_bytes())["model_type"]
        told = json.loads((folder / "generation_config.json").read_bytes())
        if kind != "whisper":
            return ()
        if told.get("is_multilingual") is False:
            return ("en",)
        return tuple(sorted(token.strip("<|>") for token in told.get("lang_to_id") or ()))
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return ()
