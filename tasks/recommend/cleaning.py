"""What was wrong with a caller's table and what was done about it: dropped, filled or refused, with row numbers.

It counts and remembers; the rules themselves stand where a table is read (catalogue.py, interactions.py).
"""

from dataclasses import dataclass, field

import numpy as np

from tasks.errors import InvalidInput

SHOWN = 20  # line numbers that a finding keeps
IN_ERROR = 5  # unusable rows that an error shows


@dataclass
class Finding:
    """One rule that was applied: how often, and the first lines."""

    count: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        self.count += 1
        if len(self.lines) < SHOWN:
            self.lines.append(line)


def _add_all(findings: dict[str, Finding], rule: str, lines: np.ndarray) -> None:
    if len(lines):
        finding = findings.setdefault(rule, Finding())
        finding.count += len(lines)
        finding.lines += [int(line) for line in lines[: SHOWN - len(finding.lines)]]


@dataclass
class Cleaning:
    """Of one table. `unit` is what its numbers count: lines of a text, rows of Parquet.

    Rows that cannot be used are dropped as long as they are fewer than the others; else the table is refused, for
    then it is more likely misunderstood than dirty.
    """

    table: str
    unit: str = "line"
    form: str = ""
    rows: int = 0
    dropped: dict[str, Finding] = field(default_factory=dict)
    filled: dict[str, Finding] = field(default_factory=dict)
    unusable: Finding = field(default_factory=Finding)
    reasons: list[str] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)
    warnings: list[dict[str, str]] = field(default_factory=list)

    def drop_all(self, rule: str, lines: np.ndarray) -> None:
        _add_all(self.dropped, rule, lines)

    def fill_all(self, rule: str, lines: np.ndarray) -> None:
        _add_all(self.filled, rule, lines)

    def drop(self, rule: str, line: int) -> None:
        self.dropped.setdefault(rule, Finding()).add(line)

    def fill(self, rule: str, line: int) -> None:
        self.filled.setdefault(rule, Finding()).add(line)

    def refuse(self, line: int, why: str) -> None:
        """A row that cannot be used; `why` goes on after 'line 7 '."""
        self.unusable.add(line)
        if len(self.reasons) < SHOWN:
            self.reasons.append(f"{self.unit} {line}{why if why.startswith(':') else ' ' + why}")

    def check(self) -> None:
        """Errors: InvalidInput where at least half of the rows cannot be used."""
        if self.unusable.count * 2 >= max(1, self.rows):
            more = self.unusable.count - IN_ERROR
            rest = f"; and {more:,} more" if more > 0 else ""
            of = f" ({self.unusable.count:,} of {self.rows:,} rows cannot be used; half is too many)"
            raise InvalidInput("; ".join(self.reasons[:IN_ERROR]) + rest + (of if self.rows > 1 else ""))

    @property
    def clean(self) -> bool:
        return not (self.dropped or self.filled or self.unusable.count or self.warnings)

    def as_dict(self) -> dict:
        """For data-report.json."""
        return {
            "format": self.form,
            "rows": self.rows,
            "numbers_count": f"{self.unit}s",
            "unusable": {"count": self.unusable.count, "first": self.reasons},
            "dropped": {rule: {"count": f.count, f"first_{self.unit}s": f.lines} for rule, f in self.dropped.items()},
            "filled": {rule: {"count": f.count, f"first_{self.unit}s": f.lines} for rule, f in self.filled.items()},
            "warnings": self.warnings,
            **self.notes,
        }
