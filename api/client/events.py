"""Reads server-sent events (HTML Living Standard, 9.2.6). Knows their form on the wire and no event's meaning."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

RETRY_S = 1.0
"""Seconds before a stream is opened again whose server asked for no other pause."""


@dataclass
class Stream:
    """One stream as it is read. `retry_s`: the pause before it is opened again."""

    retry_s: float = RETRY_S

    def events(self, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The name and the data of each event, which a blank line ends. All else is skipped."""
        name = "message"
        data: list[str] = []
        for line in lines:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                if data:
                    yield name, "\n".join(data)
                name, data = "message", []
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "retry" and value.isdecimal():
                self.retry_s = int(value) / 1000
