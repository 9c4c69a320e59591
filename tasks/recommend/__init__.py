"""Recommend: a catalogue, what people chose and whom to ask for in, ranked titles out. The contract; algorithms lie
beside this file.

Files beside the result: for one person recommendations.json (the ranked items with all that is known of them), for
many recommendations.parquet; data-report.json, where interactions were read or something had to be cleaned;
evaluation.json and evaluation.png, where they were asked for.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tasks.inputs import MIB, Limits, Source
from tasks.warning import Warned

if TYPE_CHECKING:
    from tasks.registry import Model


def _as_text(value: object) -> object:
    """Ids are often numbers; ids.py has the rule by which 3, 3.0 and '3' are one."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Number = str | int | float
Id = Annotated[str, Field(min_length=1, max_length=200), BeforeValidator(_as_text, json_schema_input_type=Number)]
Tag = Annotated[str, Field(min_length=1, max_length=200)]
WITHOUT_INTERACTIONS = ("content", "hybrid")
"""Algorithms that need no interactions."""
NOT_GIVEN = "of the input interactions, which is not given"
LEARN = ("user-knn", "item-knn", "svd", "nmf")
ONLY: dict[str, tuple[str, ...]] = {
    "objective": ("svd", "nmf"),
    "factors": ("svd", "nmf"),
    "seed": ("svd", "nmf", "hybrid"),
    "neighbours": ("user-knn", "item-knn"),
    "shrinkage": ("item-knn",),
    "half_life": LEARN,
}
ROLES = ("id", "title", "year", "genres", "director", "cast", "plot", "user", "item", "rating", "plays", "time")
"""Columns that are read: to `plot` those of the catalogue, then those of the interactions."""
Role = Literal["id", "title", "year", "genres", "director", "cast", "plot", "user", "item", "rating", "plays", "time"]
WHO = "history, tags, user or users"
WARNINGS = {
    "rows_dropped": "one rule of cleaning left out or dropped more than 5 % of a table's rows",
    "cells_filled": "one rule filled more than 5 % of a table's rows: ratings, times or years that are missing or "
    "unreadable",
    "column_guessed": "two columns could be the id, title, user, item, rating or plays, or one was taken by guess; "
    "`params.columns` names the right one",
    "columns_ignored": "a column looks as if it were meant, and is not used; `params.columns` names it",
    "encoding_guessed": "a table is not UTF-8: its letters are read by a guess",
    "numbers_guessed": "a comma or dot in numbers is taken for a mark of thousands by what other numbers look like",
    "times_guessed": "times whose day and month may be mixed up, whose units differ, or that lie in the future",
    "ids_rounded": "ids are floats past 2^53, which may be no longer those that were meant",
    "titles_for_ids": "some items are named by title where others are named by id",
    "genres_unshared": "no two titles share a genre",
    "unknown_user": "the interactions do not have a user",
    "unknown_history": "the catalogue does not have an entry of `history`, or has it more than once",
    "unknown_tag": "no title has a tag, beside others that some have or where the popular stands in",
    "tags_unused": "tags stand beside a history: they are for people without one",
    "no_items": "`items` is empty: nothing left in the catalogue fits",
    "users_without_items": "some of the users that were asked for got no title",
}


class Inputs(BaseModel):
    """What there is, what people chose of it, and for whom titles are wanted: a history, tags, a user or users."""

    model_config = ConfigDict(extra="forbid")
    catalogue: Annotated[Source, Limits(max_bytes=256 * MIB)] = Field(
        description="the titles: CSV with a header, JSON lines or Parquet; columns id (or title) and any of title, "
        "year, genres, director, cast, plot, or their names in common data sets; at most 256 MiB"
    )
    interactions: Annotated[Source, Limits(max_bytes=256 * MIB)] = Field(
        None,
        description="who chose what: CSV with a header, JSON lines or Parquet; columns user and item, and any of "
        "rating (or plays, a count) and time, or their names in common data sets; at most 256 MiB. All models but "
        "content and hybrid need it",
    )
    history: list[Id] = Field(
        default_factory=list,
        max_length=1000,
        description="ids (or titles) of items that a person liked, newest last; empty for one of whom nothing is known",
    )
    tags: list[Tag] = Field(
        default_factory=list,
        max_length=50,
        description="what a person without history says to like: genres, directors, actors of the catalogue",
    )
    user: Id = Field(None, description="a user of the interactions; one that they do not know has no history")
    users: Annotated[list[Id], Field(min_length=1, max_length=100_000)] | Literal["all"] = Field(
        None, description='users of the interactions, or "all" of them'
    )

    @model_validator(mode="after")
    def _somebody_is_asked_for(self) -> "Inputs":
        given = self.model_fields_set
        if not given & {"history", "tags", "user", "users"}:
            raise ValueError(f"say for whom: {WHO} is needed")
        if "users" in given and given & {"history", "tags", "user"}:
            raise ValueError("users stands alone: history, tags and user are for one person")
        if given & {"user", "users"} and "interactions" not in given:
            raise ValueError("user and users are looked up in interactions, which are not given")
        return self


class Params(BaseModel):
    """How many, by what, and whether the models are to be measured."""

    model_config = ConfigDict(extra="forbid")
    columns: dict[Role, Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=dict,
        description="the tables' own names of columns that are not known, such as {'item': 'film_code'}; id to plot "
        "are columns of the catalogue, the others of the interactions",
    )
    k: int = Field(10, ge=1, le=1000, description="how many titles to return")
    evaluate: bool = Field(
        False,
        description="also measure all models on the interactions: each user's last item is "
        "held out, and looked for among the k best",
    )
    objective: Literal["ranking", "rating"] = Field(
        "ranking", description="learn which items are chosen, or what rating they are given"
    )
    factors: int = Field(None, ge=1, le=256, description="length of the vectors; the model's own where left out")
    neighbours: int = Field(50, ge=1, le=1000, description="how many similar users (or, of each item, items) count")
    shrinkage: float = Field(
        10,
        ge=0,
        le=1e6,
        allow_inf_nan=False,
        description="the more, the less is a similarity trusted that few people stand behind",
    )
    half_life: float = Field(
        5,
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="after this many newer items, an item of a history counts half",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of what is drawn: first values of vectors, bootstrap samples")


class Item(BaseModel):
    """One ranked title. The score orders items of one answer; it is no probability."""

    id: str
    title: str
    score: float
    reason: str = Field(description="a sentence for a person: why this title")


class Many(BaseModel):
    """What recommendations.parquet holds."""

    users: int = Field(description="users that were asked for")
    rows: int = Field(description="of user, rank, id, title, score, reason")
    without_history: int = Field(description="users whom the interactions do not know; they get what is popular")
    without_items: int = Field(0, description="users who got no title, as nothing left fits")


class Measured(BaseModel):
    """One model on held-out items, 0 to 1, at k; `low` and `high`: 95 % bootstrap interval of the nDCG."""

    model: str
    ndcg: float
    low: float
    high: float
    recall: float
    map: float
    mrr: float
    coverage: float = Field(description="share of the catalogue that is recommended to anybody")


class Result(BaseModel):
    """Ranked, best first; nothing of the history among them. `items` is empty where `many` says what was made."""

    items: list[Item]
    many: Many | None = None
    evaluation: list[Measured] | None = None
    warnings: list[Warned] = []


def foreseen(inputs: Inputs, params: Params, model: "Model") -> Iterator[tuple[str, str]]:
    """Reasons for which a job would fail for certain."""
    if "." in model.algorithm or "interactions" in inputs.model_fields_set:
        return
    if model.algorithm not in WITHOUT_INTERACTIONS:
        yield "/input/interactions", needed(model.name)
    elif params.evaluate:
        yield "/params/evaluate", f"it holds back some {NOT_GIVEN}"
    for column in ROLES[ROLES.index("user") :]:
        if column in params.columns:
            yield f"/params/columns/{column}", f"it is a column {NOT_GIVEN}"


def needed(name: str) -> str:
    return (
        f"the model {name} learns from the input interactions, which is not given; "
        f"{' and '.join(WITHOUT_INTERACTIONS)} can do without"
    )
