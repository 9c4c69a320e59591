"""Recommend: a catalogue and a history in, ranked titles out. The contract; algorithms lie beside this file.

Beside the result, one file: recommendations.json (the ranked items with all that is known of them).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tasks.inputs import MIB, Limits, Source

ItemId = Annotated[str, Field(min_length=1, max_length=200)]


class Inputs(BaseModel):
    """What there is, and what this person liked."""

    model_config = ConfigDict(extra="forbid")
    catalogue: Annotated[Source, Limits(max_bytes=256 * MIB)] = Field(
        description="the titles: CSV with a header, or JSON lines; columns id (or title) and any of title, year, "
                    "genres, director, cast, plot; at most 256 MiB")
    history: list[ItemId] = Field(min_length=1, max_length=1000, description="ids of items liked, newest last")


class Params(BaseModel):
    """How many."""

    model_config = ConfigDict(extra="forbid")
    k: int = Field(10, ge=1, le=1000, description="how many titles to return")


class Item(BaseModel):
    """One ranked title. The score orders items of one answer; it is no probability."""

    id: str
    title: str
    score: float
    reason: str = Field(description="a sentence for a person: why this title")


class Result(BaseModel):
    """Ranked, best first; nothing of the history among them."""

    items: list[Item]
