"""One job of each kind to try the stack with: the sample inputs that lie beside the kinds, and the same as curl."""

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TASKS = Path("tasks")
CURL = 'curl -sS -H "Authorization: Bearer $BACKLOT_API_KEY"'


@dataclass(frozen=True)
class Sample:
    """A job to submit. A Path among the inputs is a file of the checkout; `torch`: its model needs PyTorch."""

    kind: str
    inputs: dict[str, object]
    params: dict[str, object] = field(default_factory=dict)
    torch: bool = False

    def curl(self) -> str:
        """The same submission by hand, once .backlot/env is sourced."""
        fields = {"kind": self.kind, **self.inputs, **({"params": self.params} if self.params else {})}
        parts = [f"-F {shlex.quote(_form(name, value))}" for name, value in fields.items()]
        return " ".join([CURL, *parts, '"$BACKLOT_URL/v1/jobs"'])


def _form(name: str, value: object) -> str:
    if isinstance(value, Path):
        return f"{name}=@{value}"
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


SAMPLES = (
    Sample(
        "recommend",
        {"catalogue": TASKS / "recommend/samples/films.csv", "history": ["Alien", "Blade Runner"]},
        {"k": 5},
    ),
    Sample("transcribe", {"audio": TASKS / "transcribe/samples/reading_female.opus"}),
    Sample("caption", {"image": TASKS / "caption/samples/chelsea-cat.png"}, torch=True),
    Sample(
        "generate",
        {"prompt": "It was a dark night, and the old house stood silent."},
        {"max_tokens": 80, "temperature": 0.7, "seed": 1},
        torch=True,
    ),
)


def summary(kind: str, result: dict[str, Any]) -> str:
    """What a person wants to see of a result, in a line or two."""
    if kind == "recommend":
        return " · ".join(item["title"] for item in result["items"])
    return str(result["caption"] if kind == "caption" else result["text"].strip())
