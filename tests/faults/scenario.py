"""What a scenario is: something that submits jobs, strikes, and leaves the books to be closed.

    @scenario("1b", "a prefork child is killed")
    def child(place, size): ...

`size` is how many jobs it is worth (the short form of `make test` takes few). What it returns is a remark for
RESULTS.md, with what it measured beside the common columns. An assertion that fails is a row that failed.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.accounts import Account
from tests.faults.place import Place

Run = Callable[[Place, int], str | None]


@dataclass(frozen=True)
class Scenario:
    """`number` is that of the list in docs/faults.md, with a letter. `short`: part of `make test`."""

    number: str
    title: str
    run: Run
    short: bool = False


@dataclass
class Row:
    """A scenario as it went. `failed`: why, where it did; lost or doubled jobs are a failure too."""

    number: str
    title: str
    account: Account = field(default_factory=Account)
    remark: str = ""
    failed: str = ""
    took_s: float = 0.0

    @property
    def passed(self) -> bool:
        return not (self.failed or self.account.lost or self.account.twice)


SCENARIOS: list[Scenario] = []


def scenario(number: str, title: str, short: bool = False) -> Callable[[Run], Run]:
    def enter(run: Run) -> Run:
        SCENARIOS.append(Scenario(number, title, run, short))
        return run

    return enter


def play(place: Place, chosen: Scenario, size: int) -> Row:
    """Run one with fresh books, and close them."""
    place.mend()
    place.books = place.new_books()
    row, start = Row(chosen.number, chosen.title), time.monotonic()
    try:
        row.remark = chosen.run(place, size) or ""
    except Exception as error:
        row.failed = f"{type(error).__name__}: {error}"[:500]
        traceback.print_exc()
    try:
        place.mend()
        place.books.wait()
        place.sweep_trash()
        row.account = place.books.account(place.committed)
    except Exception as error:
        row.failed = row.failed or f"the books could not be closed: {error}"[:500]
        traceback.print_exc()
    row.took_s = time.monotonic() - start
    return row
