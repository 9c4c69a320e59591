"""Duties: one that fails or hangs stops no other, and how each stands is told on the port, in metrics and in Redis."""

import json
import threading
import time

import httpx
import pytest
from prometheus_client import REGISTRY

from tasks.bucket.storage import ObjectRefused
from tasks.errors import LedgerFault, NotReady, StorageUnavailable
from tasks.ledger import keepers, keys
from tests.stack import ROOT, until
from worker.keeper import health
from worker.keeper.duty import LATE_ROUNDS, Duty
from worker.keeper.keeper import Keeper
from worker.keeper.skipped import (
    FAILURES_IN_A_ROW,
    LINES_A_MINUTE,
    PAGE_ENTRIES,
    UNANSWERED_RETRY_MS,
    UNREADABLE_RETRY_MS,
    Skipped,
)

ROUND_S = 0.03


@pytest.fixture
def stop():
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def start(stop):
    """Starts a duty on its thread: start("trash", work)."""

    def begin(name, work, **more) -> Duty:
        duty = Duty(name, work, Skipped(name), round_s=ROUND_S, **more)
        threading.Thread(target=duty.repeat, args=(stop,), daemon=True).start()
        return duty

    return begin


def fails():
    raise StorageUnavailable("the bucket refused it")


def refuses():
    raise ObjectRefused("the bucket refused DeleteObjects (AccessDenied)")


def counted(name: str, duty: str) -> float:
    return REGISTRY.get_sample_value(name, {"duty": duty})


def test_what_fails_or_hangs_is_late_and_the_others_go_on(start, stop, caplog):
    """Each has its own thread, its own errors, and its own age; the same error is said once."""
    done = []
    failing, hanging, fine = start("failing", fails), start("hanging", stop.wait), start("fine", lambda: done.append(1))
    until(lambda: failing.is_late and hanging.is_late, 20, "both are late")
    seen = len(done)
    until(lambda: len(done) > seen and not fine.is_late, 20, "the third goes on")
    assert failing.standing().error == "the bucket refused it" and failing.errors > 1
    assert "running for" in hanging.standing().error and hanging.errors == 0
    assert fine.standing().error is None and fine.errors == 0
    assert caplog.text.count("the bucket refused it") == 1
    until(lambda: counted("backlot_duty_errors_total", "failing") == failing.errors, 20)
    assert counted("backlot_duty_errors_total", "fine") == 0
    assert abs(counted("backlot_duty_last_success_timestamp_seconds", "fine") - time.time()) < 60
    assert counted("backlot_duty_last_success_timestamp_seconds", "failing") == 0


def test_one_that_comes_right_again_is_late_no_longer(start):
    broken = [True]
    duty = start("mended", lambda: fails() if broken else None)
    until(lambda: duty.is_late, 20)
    broken.clear()
    until(lambda: not duty.is_late and duty.standing().error is None, 20)


def test_nothing_is_done_before_the_gate_opens(start):
    """The gate's own error is the epoch's to log."""
    closed, done = [True], []

    def gate():
        if closed:
            raise NotReady("not reconciled")

    duty = start("gated", lambda: done.append(1), gate=gate)
    until(lambda: duty.errors > 2, 20)
    assert not done and duty.standing().error == "not reconciled"
    closed.clear()
    until(lambda: done, 20)


def test_a_seldom_duty_that_fails_is_tried_again_in_the_next_round():
    duty = Duty("seldom", fails, Skipped("seldom"), round_s=1, period_s=3600)
    assert duty.once() == 1
    duty.work = lambda: None
    assert duty.once() == 3600
    assert duty.late_s == 3600 + LATE_ROUNDS


class TestSkipped:
    """An entry's own fault, told from a bucket or a Redis that is away."""

    def test_one_that_cannot_be_read_is_told_and_counted_once_and_put_off_for_a_day(self, caplog):
        skipped = Skipped("told")
        assert [skipped.handle("odd", lambda: int("x")) for _ in range(3)] == [UNREADABLE_RETRY_MS] * 3
        assert skipped.handle("even", lambda: None) == 0
        assert skipped.count == 1 == counted("backlot_skipped_entries_total", "told")
        assert caplog.text.count("skipped 'odd'") == 1

    def test_a_broken_script_is_the_entrys_fault_and_a_redis_that_is_away_is_not(self):
        def fault():
            raise LedgerFault("bad argument")

        def away():
            raise NotReady("away")

        skipped = Skipped("faults")
        assert skipped.handle("odd", fault) == UNREADABLE_RETRY_MS
        with pytest.raises(NotReady):
            skipped.handle("any", away)
        assert skipped.count == 1

    def test_a_bucket_that_does_not_answer_at_three_in_a_row_is_away(self):
        """At one or two it is tried again in a minute, and counts as nobody's fault."""
        skipped = Skipped("unanswered")
        done = [skipped.handle(f"{n}", work) for n, work in enumerate([fails, fails, lambda: None, fails, fails])]
        assert (
            done == [UNANSWERED_RETRY_MS, UNANSWERED_RETRY_MS, 0, UNANSWERED_RETRY_MS, UNANSWERED_RETRY_MS]
            and skipped.count == 0
        )
        with pytest.raises(StorageUnavailable):
            skipped.handle("third", fails)
        assert skipped.handle("fourth", fails) == UNANSWERED_RETRY_MS, "the next round goes past the first two"

    def test_an_object_that_the_bucket_refuses_is_skipped_and_all_of_them_are_an_error(self, ledger, caplog):
        """As where the keys lack a right. Of very many each is counted, and a few are logged."""
        skipped = Skipped("refused")
        ledger.redis.zadd("a:list", {f"odd{n}": n for n in range(150)} | {"even": 999})
        skipped.handle_due(ledger.redis, "a:list", lambda member: member == "even" or refuses())
        assert skipped.count == 150 and len(caplog.records) == LINES_A_MINUTE + 1
        ledger.redis.zadd("a:list", {f"odd{n}": n for n in range(FAILURES_IN_A_ROW)})
        ledger.redis.zadd("a:list", {"even": 1e15})
        with pytest.raises(StorageUnavailable, match="refuses all of 3"):
            skipped.handle_due(ledger.redis, "a:list", lambda member: refuses())

    def test_members_that_cannot_be_read_stand_before_no_other_and_stay(self, ledger):
        """More of them than a page has; the round reads on."""
        ledger.redis.zadd("a:list", {**{f"odd{n}": n for n in range(250)}, "even": 300})
        done, skipped = [], Skipped("list")
        skipped.handle_due(
            ledger.redis, "a:list", lambda member: done.append(member) if member == "even" else int(member)
        )
        assert done == ["even"] and skipped.count == 250
        assert ledger.redis.zcard("a:list") == 251

    def test_members_are_handled_several_at_once(self, ledger):
        """Each waits for three others that are at it."""
        ledger.redis.zadd("a:list", {f"m{n}": n for n in range(40)})
        together, skipped = threading.Barrier(4), Skipped("at once")

        def work(member: str) -> None:
            together.wait(20)
            ledger.redis.zrem("a:list", member)

        skipped.handle_due(ledger.redis, "a:list", work, at_once=4)
        assert not ledger.redis.exists("a:list") and not skipped.count

    def test_once_the_bucket_is_away_the_rest_of_a_page_is_not_tried(self, ledger):
        ledger.redis.zadd("a:list", {f"m{n}": n for n in range(PAGE_ENTRIES)})
        tried = []
        with pytest.raises(StorageUnavailable):
            Skipped("away").handle_due(ledger.redis, "a:list", lambda member: tried.append(member) or fails(), 4)
        assert FAILURES_IN_A_ROW <= len(tried) < PAGE_ENTRIES
        assert ledger.redis.zcard("a:list") == PAGE_ENTRIES


class TestTold:
    """On the keeper's port, and in /v1/pools through Redis."""

    @pytest.fixture
    def get(self, settings):
        """Asks a port that tells of these duties."""

        def ask(path: str, *duties: Duty) -> httpx.Response:
            port = health.serve(settings, duties)
            return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)

        return ask

    def test_readyz_names_each_that_is_late_with_its_error(self, get, start):
        late, fine = start("late", fails), start("fine", lambda: None)
        assert get("/readyz", fine).json() == {"status": "ok", "duties": []}
        until(lambda: late.is_late, 20)
        answer = get("/readyz", late, fine)
        assert answer.status_code == 503
        (told,) = answer.json()["duties"]
        assert (told["name"], told["error"], told["succeeded_s"]) == ("late", "the bucket refused it", None)

    def test_the_other_paths(self, get, start):
        assert "backlot_duty_errors_total" in get("/metrics").text
        assert get("/healthz").status_code == 200
        assert get("/etc/passwd").status_code == 404

    def test_keepers_are_shown_as_one_by_who_did_it_last(self, ledger):
        """One that hangs beside one that does not makes nothing late; both errors count."""
        bad, good = keepers.Standing(None, 30, 7, 2, "no"), keepers.Standing(0.5, 30, 1, 2, None)
        keepers.tell(ledger.redis, "a", {"trash": bad, "due": bad})
        keepers.tell(ledger.redis, "b", {"trash": good})
        read = keepers.read(ledger)
        trash, due = read.duties
        assert read.alive == 2
        assert (trash.name, trash.late, trash.errors, trash.skipped, trash.error) == ("trash", False, 8, 2, "no")
        assert 0.5 <= trash.succeeded_s < 30
        assert due.late and due.succeeded_s is None

    def test_a_keeper_that_has_gone_is_known_by_its_last_words_until_another_speaks(self, ledger):
        gone = {"at_ms": 1000, "duties": {"due": {"age_s": 0, "late_s": 30, "errors": 0, "skipped": 0, "error": None}}}
        ledger.redis.hset(keys.KEEPERS, mapping={"old": json.dumps(gone), "odd": "[1"})
        read = keepers.read(ledger)
        assert read.alive == 0 and [duty.late for duty in read.duties] == [True]
        keepers.tell(ledger.redis, "new", {})
        assert list(ledger.redis.hgetall(keys.KEEPERS)) == ["new"]

    def test_every_duty_of_the_keeper_is_told(self, settings, ledger, storage):
        keeper = Keeper(settings)
        keeper.round()
        keeper.tell()
        told = {duty.name: duty for duty in keepers.read(ledger).duties}
        assert list(told) == list(keeper.duties)
        documented = (ROOT / "docs" / "operations.md").read_text()
        assert [name for name in told if f"`{name}`" not in documented] == []
        assert all(duty.succeeded_s is not None and not duty.late and not duty.error for duty in told.values())
