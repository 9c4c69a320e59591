"""The short form of the fault suite: real processes die, and every accepted job is accounted for from outside.

All of it is `make faults`; docs/faults.md says what each scenario does.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.__main__ import SCENARIOS
from tests.faults.place import Place, place
from tests.faults.scenario import Scenario, play

JOBS = 8


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Two workers a pool, for all scenarios."""
    folder: Path = tmp_path_factory.mktemp("faults")
    with place(folder) as made:
        yield made


@pytest.mark.parametrize("chosen", [one for one in SCENARIOS if one.short], ids=lambda one: one.number)
def test_nothing_is_lost_and_nothing_done_twice(there: Place, chosen: Scenario):
    row = play(there, chosen, JOBS)
    assert not row.failed, row.failed
    assert row.account.jobs and not row.account.lost and not row.account.twice, row
