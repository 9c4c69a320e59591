"""Warnings of a result: the reasons not to trust it, each a code for programs and a sentence for people.

It knows the form alone. Each kind's contract lists its codes with their meanings as WARNINGS, which docs/api.md shows
(`make docs`); whoever finds a reason makes the warning where it is found.
"""

from pydantic import BaseModel, Field


class Warned(BaseModel):
    """A reason not to trust the answer."""

    code: str = Field(description="a code of the kind's list in docs/api.md; more may come")
    detail: str = Field(description="a sentence for a person")


def warning(code: str, detail: str) -> dict[str, str]:
    """The JSON of a Warned."""
    return {"code": code, "detail": detail}
