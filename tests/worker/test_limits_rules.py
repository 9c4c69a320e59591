"""The rules of limits.py by themselves: which attempt is asked, left or killed, and how its job ends. No processes."""

import time

import pytest

from tasks.ledger import Claimed, Held
from tasks.registry import Model, Registry
from tasks.settings import Settings
from worker.attempt import ENDING, Attempt, HandedBack
from worker.board import NOTHING_KNOWN, Board, Doing, read
from worker.limits import Limits

MODEL = Model(
    kind="generate",
    name="m",
    algorithm="tests.models.noop",
    pool="gpu",
    run_timeout_s=100,
    fetch_timeout_s=10,
    load_timeout_s=20,
    batch_timeout_s=30,
    upload_timeout_s=40,
    memory_mb=400,
)
LONG_AGO = -1000


def limits(shared: bool = True, grace_s: float = 5, stop_s: float = 1) -> Limits:
    return Limits(Settings(grace_s=grace_s, stop_s=stop_s), Registry([MODEL]), shared, budget_mb=600)


def held(token: str = "t", state: str = "running", **changes) -> Held:
    usual = {"run_ms": 60_000, "line": "gpu.generate:m"}
    return Held(f"w:1:2:{token}", token, f"job-{token}", state, **{**usual, **changes})


def doing(phase: str, for_s: float) -> Doing:
    return Doing("t", phase, time.monotonic() - for_s)


def after_its_patience(rules: Limits, attempt: Held, now: Doing, now_ms: float = 1, memory_mb: float = 0) -> str:
    """The step once nothing came of being asked."""
    assert rules.step(attempt, now, now_ms, memory_mb) in ("ask", "kill")
    if attempt.token in rules._asked:
        rules._asked[attempt.token] = (rules._asked[attempt.token][0], LONG_AGO)
    return rules.step(attempt, now, now_ms, memory_mb)


@pytest.mark.parametrize(
    ("phase", "limit_s", "code"),
    [
        ("fetching", 10, "input_unreachable"),
        ("loading", 20, "timeout"),
        ("batching", 30, None),
        ("running", 60, "timeout"),
        ("uploading", 40, "storage_unavailable"),
    ],
)
def test_each_phase_has_a_limit_of_its_own(phase, limit_s, code):
    """Just under it nothing happens; just over it the attempt is asked, and its job's end names the limit."""
    rules, attempt = limits(), held()
    assert rules.step(attempt, doing(phase, limit_s - 1), 1, 0) == "nothing"
    assert rules.step(attempt, doing(phase, limit_s + 1), 1, 0) == "ask"
    error = rules.verdict(attempt)
    assert f"{limit_s} s" in error.detail
    if code is None:
        assert isinstance(error, HandedBack) and error.cause == "neighbour"
    else:
        assert error.code == code


@pytest.mark.parametrize(
    ("phase", "for_s", "step"),
    [
        ("fetching", 11, "leave"),
        ("batching", 31, "leave"),
        ("uploading", 41, "leave"),
        ("loading", 21, "kill"),
        ("running", 61, "kill"),
    ],
)
def test_a_shared_process_is_killed_only_for_what_runs_in_it(phase, for_s, step):
    """Whoever waits, fetches or uploads and does not leave is left where it is."""
    assert after_its_patience(limits(), held(), doing(phase, for_s)) == step


@pytest.mark.parametrize("phase", ["fetching", "loading", "batching", "uploading", ""])
@pytest.mark.parametrize("attempt", [held(state="canceling"), held(deadline_ms=5)], ids=["canceled", "deadline"])
def test_neither_a_cancel_nor_a_deadline_kills_a_shared_process_that_does_not_compute(phase, attempt):
    assert after_its_patience(limits(), attempt, doing(phase, 1), now_ms=10) == "leave"


def test_a_cancel_alone_never_kills_a_shared_process_but_a_limit_still_does():
    """A canceled job that hangs is over its run_timeout_s one day, as any other."""
    assert after_its_patience(limits(), held(state="canceling"), doing("running", 1)) == "ask"
    assert after_its_patience(limits(), held(state="canceling"), doing("running", 61)) == "kill"


def test_a_callers_limit_waits_longer_for_a_shared_process_than_the_operators():
    """grace_s for the job's own run_timeout_s, stop_s once the model's own is over."""
    rules, attempt = limits(grace_s=1000, stop_s=0), held()
    assert [rules.step(attempt, doing("running", for_s), 1, 0) for for_s in (61, 99, 101)] == ["ask", "ask", "kill"]


def test_while_the_end_is_written_nothing_limits_an_attempt():
    """Its outputs are in the bucket; Redis may be away for long."""
    assert limits().step(held(), doing("ending", 10_000), 1, 0) == "nothing"
    assert after_its_patience(limits(), held(deadline_ms=5), doing("ending", 1), now_ms=10) == "ask"


def test_a_child_of_the_cpu_pool_is_killed_in_any_phase():
    """It runs one job."""
    for phase, for_s in (("fetching", 11), ("batching", 31), ("uploading", 41), ("running", 61)):
        assert after_its_patience(limits(shared=False), held(), doing(phase, for_s)) == "kill"


def test_the_memory_of_a_shared_process_is_held_against_its_budget():
    """A model's own memory_mb is for a process that runs it alone."""
    assert limits().step(held(), doing("running", 1), 1, 500) == "nothing"
    assert limits(shared=False).step(held(), doing("running", 1), 1, 500) == "kill"
    rules = limits()
    assert rules.step(held(), doing("running", 1), 1, 601) == "kill"
    error = rules.verdict(held(), "SIGKILL")
    assert (error.code, error.retryable) == ("out_of_memory", False) and "600 MiB" in error.detail


def test_of_several_in_a_process_that_took_too_much_each_is_a_suspect_and_who_waited_is_not():
    """Those that computed run next alone; the one that fetched goes back into its line and loses nothing."""
    rules, jobs = limits(), [held("a"), held("b"), held("c")]
    steps = [
        rules.step(job, doing(phase, 1), 1, 601)
        for job, phase in zip(jobs, ("running", "loading", "fetching"), strict=True)
    ]
    assert steps == ["kill", "kill", "nothing"]
    first, second, third = (rules.verdict(job, "SIGKILL") for job in jobs)
    assert (first.code, second.code) == ("worker_lost", "worker_lost") and "2 jobs" in first.detail
    assert not any(map(rules.is_to_blame, jobs)), "nobody knows whose it was"
    assert isinstance(third, HandedBack) and third.cause == "neighbour"


def test_of_a_batch_that_hangs_each_row_is_a_suspect_and_nobody_is_charged():
    """Whichever of them is over its limit first; one that fetches, or runs another model, is a neighbour."""
    rules, first, other, elsewhere = limits(grace_s=0, stop_s=0), held("a"), held("b", run_ms=90_000), held("c")
    steps = [rules.step(job, doing(phase, 9), 1, 0) for job, phase in ((other, "running"), (elsewhere, "fetching"))]
    assert steps == ["nothing"] * 2
    assert rules.step(first, doing("running", 62), 1, 0) == "kill"
    ends = [rules.verdict(job, "SIGKILL") for job in (first, other)]
    assert [(end.code, end.retryable) for end in ends] == [("worker_lost", True)] * 2
    assert "a batch of 2 jobs" in ends[0].detail and not any(map(rules.is_to_blame, (first, other)))
    assert rules.verdict(elsewhere, "SIGKILL").cause == "neighbour"


def test_a_row_whose_batch_has_gone_on_without_it_hangs_alone():
    """The other has been answered, and uploads: the timeout is the row's own, and its tenant is charged."""
    rules, row, other = limits(grace_s=0, stop_s=0), held("a"), held("b")
    rules.step(other, doing("running", 1), 1, 0)
    rules.step(other, doing("uploading", 1), 1, 0)
    assert rules.step(row, doing("running", 62), 1, 0) == "kill"
    assert rules.verdict(row, "SIGKILL").code == "timeout" and rules.is_to_blame(row)
    assert rules.verdict(other, "SIGKILL").cause == "neighbour"


def test_a_drain_is_named_as_the_cause_of_a_release():
    rules = limits()
    rules.end(held(), "drain")
    assert rules.verdict(held(), "SIGKILL").cause == "drain"


def test_neighbours_of_a_killed_attempt_are_released_as_such():
    """Those that had been asked as well, but were not what the process was killed for."""
    rules = limits()
    assert after_its_patience(rules, held("a"), doing("running", 61)) == "kill"
    assert rules.step(held("b", "canceling"), doing("fetching", 1), 1, 0) == "ask"
    assert rules.verdict(held("a"), "SIGKILL").code == "timeout"
    assert (rules.is_to_blame(held("a")), rules.is_to_blame(held("b"))) == (True, False)
    assert rules.verdict(held("b"), "SIGKILL").cause == "neighbour"


def test_what_is_held_no_more_is_forgotten():
    rules = limits()
    after_its_patience(rules, held("a"), doing("running", 61))
    rules.keep([])
    assert not rules._asked and not rules._killed and not rules._ended and not rules._running


def test_a_board_tells_of_the_attempt_that_it_was_last_written_for(tmp_path):
    """And of nothing where the slot has gone on to another, or has no board."""
    folder = tmp_path / "7" / "8"
    folder.mkdir(parents=True)
    board = Board(folder)
    board.say("a" * 32, "uploading")
    seen = read(tmp_path, "w:7:1:8", "a" * 32)
    assert seen.phase == "uploading" and -1 < seen.for_s < 60
    assert read(tmp_path, "w:7:1:8", "b" * 32) is NOTHING_KNOWN
    assert read(tmp_path, "w:7:1:9", "a" * 32) is NOTHING_KNOWN


def test_a_phase_that_nothing_is_waited_for_in_is_measured_and_not_on_the_board(tmp_path, fixed):
    """The limit of the phase before holds on; where something is waited for after all, it is written."""
    folder = tmp_path / "7" / "8"
    folder.mkdir(parents=True)
    attempt = Attempt(Claimed(fixed(), "a" * 32, 1, {}), MODEL, Board(folder))

    def on_the_board() -> str:
        return read(tmp_path, "w:7:1:8", "a" * 32).phase

    seen = []
    for phase, passes in (("fetching", True), ("running", False), ("uploading", True), ("uploading", False)):
        attempt.enter(phase, passes)
        seen.append(on_the_board())
    attempt.enter(ENDING)
    assert seen == ["", "running", "running", "uploading"]
    assert on_the_board() == ENDING
    assert set(attempt.metrics) == {"load_s", "fetch_s", "run_s", "upload_s"}
