"""A route of the API, as the table of routes describes it (operations.py)."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Operation:
    """One route. `answers` and `body` name schemas; `refusals` are its statuses beside those of every route.
    `lines`: body and answer are JSON lines, each of the schema that is named. `events`: the answer is a stream of
    events; the schema of each event's data, by its name. `optional`: the body may be left out. `text`: the answer is
    plain text."""

    method: str
    path: str
    summary: str
    description: str
    answers: dict[int, str | None]
    refusals: tuple[int, ...] = ()
    body: str | None = None
    headers: tuple[str, ...] = ()
    examples: dict[str, Any] = field(default_factory=dict)
    lines: bool = False
    events: dict[str, str] = field(default_factory=dict)
    optional: bool = False
    text: bool = False

    @property
    def tag(self) -> str:
        return self.path.split("/")[2] if self.path.startswith("/v1/") else "service"
