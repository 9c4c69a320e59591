"""The receipt of an erasure says 'done' only where nothing of the tenant can come any more."""

import pytest

from tasks.errors import NotReady
from tasks.service import erasure
from tasks.service.erasure import Erasure
from worker.keeper.erasures import Erasures
from worker.keeper.keeper import Keeper
from worker.keeper.skipped import Skipped

SECRET = "a secret of the tenant"


@pytest.fixture
def keeper(settings, storage) -> Keeper:
    return Keeper(settings)


@pytest.fixture
def erasures(ledger, storage) -> Erasures:
    return Erasures(ledger, storage)


def look(erasures: Erasures, times: int) -> Erasure:
    """So many looks at the erasure of acme; how it is then."""
    asked = erasure.ask(erasures.storage, "acme", "operator")
    for _ in range(times):
        asked = erasures.erase(asked)
    return asked


def test_it_waits_for_what_the_journal_has_not_told_the_bucket_yet(ledger, storage, erasures, keeper, fixed):
    """However late job.json is: a segment that waits for one is not touched, and has the request in it."""
    ledger.submit(fixed(tenant="acme", input={"prompt": SECRET}))
    assert not look(erasures, 4).done, "the entry is in no segment"
    keeper.duties["segments"].work()
    assert not look(erasures, 4).done, "it is in a segment that waits"
    assert SECRET in everything(storage)
    keeper.duties["job_json"].work()
    assert look(erasures, 2).done
    assert SECRET not in everything(storage)


def test_it_is_not_done_in_a_redis_that_has_lost_the_jobs(ledger, erasures, fixed):
    """They come back from the journal, and are found then."""
    ledger.submit(fixed(tenant="acme"))
    ledger.redis.flushdb()
    with pytest.raises(NotReady):
        look(erasures, 2)
    assert not erasure.read(erasures.storage, "acme").done


def test_two_who_ask_at_once_get_one_receipt(erasures):
    """Or two receipts of which each comes to its end."""
    first, second = (erasure.ask(erasures.storage, "acme", name) for name in ("one", "two"))
    assert first.id == second.id
    twin = Erasure(id="erasure_" + "0" * 26, tenant="acme", asked_at=first.asked_at, asked_by="two")
    twin.save(erasures.storage)
    for _ in range(2):
        erasures.round(Skipped("erasures"))
    assert not list(erasure.under_way(erasures.storage))


def everything(storage) -> str:
    return "\n".join(storage.get_bytes(one.key).decode() for one in storage.list(""))
