"""commit, fail, release and report: what the holder of the token may do, once, and what a repetition hears."""

import json

import pytest

from tasks.errors import InvalidInput, ModelFailed, WorkerLost
from tasks.job import Job
from tasks.ledger import keys
from tests.tasks.ledger.conftest import AWAY

OUTPUT = {"name": "text.txt", "media_type": "text/plain", "bytes": 3, "sha256": "0" * 64, "key": "tenants/acme/..."}


def test_a_committed_job_has_succeeded_with_its_outputs(desk, ledger, clock, events):
    claimed = desk.running()
    clock.forward(4)
    metrics = {"fetch_s": 0.1, "run_s": 3.5}
    assert ledger.commit(claimed.fixed.id, claimed.token, {"text": "…"}, [OUTPUT], metrics) == "succeeded"
    seen = Job.of_record(ledger.record(claimed.fixed.id))
    assert (seen.status, seen.done, seen.result, seen.progress) == ("succeeded", True, {"text": "…"}, 1)
    assert [(o.name, o.bytes, o.url) for o in seen.outputs] == [
        ("text.txt", 3, f"/v1/jobs/{claimed.fixed.id}/outputs/text.txt")
    ]
    assert seen.attempts[0].outcome == "succeeded" and seen.attempts[0].ended_at == seen.completed_at
    assert (seen.metrics.fetch_s, seen.metrics.run_s) == (0.1, 3.5)
    assert (seen.retained_until - seen.completed_at).total_seconds() == claimed.fixed.retention_s
    assert events(claimed.fixed.id) == ["queued", "running", "succeeded"]


ENDS = {
    "commit": (lambda desk, claimed: desk.commit(claimed), "succeeded"),
    "fail": (lambda desk, claimed: desk.fail(claimed), "queued"),
    "fail for good": (lambda desk, claimed: desk.fail(claimed, ModelFailed("boom")), "failed"),
    "release": (lambda desk, claimed: desk.release(claimed), "released"),
}


@pytest.mark.parametrize("end", ENDS)
def test_ending_an_attempt_twice_repeats_the_first_answer(desk, ledger, end):
    ask, answer = ENDS[end]
    claimed = desk.running()
    assert ask(desk, claimed) == answer
    before = (desk.record(claimed), ledger.redis.xlen(keys.EVENTS), ledger.redis.xlen(keys.JOURNAL))
    assert ask(desk, claimed) == answer
    assert (desk.record(claimed), ledger.redis.xlen(keys.EVENTS), ledger.redis.xlen(keys.JOURNAL)) == before


@pytest.mark.parametrize("later", ENDS)
@pytest.mark.parametrize("first", ENDS)
def test_the_first_end_of_an_attempt_stands(desk, first, later):
    """Whatever the same token asks afterwards hears how it ended, even while another attempt runs."""
    claimed = desk.running()
    answer = ENDS[first][0](desk, claimed)
    desk.claim(slot="next")
    before = desk.record(claimed)
    assert ENDS[later][0](desk, claimed) == answer
    assert desk.record(claimed) == before


@pytest.mark.parametrize("end", ENDS)
def test_a_token_that_never_owned_the_job_changes_nothing(desk, end):
    claimed = desk.running()
    stranger = type(claimed)(claimed.fixed, "f" * 32, 1, {})
    assert ENDS[end][0](desk, stranger) == "lost"
    assert desk.status(claimed) == "running"


@pytest.mark.parametrize("end", ENDS)
def test_a_job_that_is_not_known_is_lost(desk, ledger, end):
    claimed = desk.running()
    ledger.redis.delete(keys.job(claimed.fixed.id))
    assert ENDS[end][0](desk, claimed) == "lost"


def test_a_retryable_failure_waits_out_its_delay_and_is_next(desk, ledger, clock):
    """queued with retry_at, in no line until it is due; then at its old place, before those who came later."""
    claimed = desk.running()
    desk.submit()
    assert desk.fail(claimed, delay_s=5) == "queued"
    seen = Job.of_record(ledger.record(claimed.fixed.id))
    assert seen.status == "queued" and seen.retry_at.timestamp() * 1000 == clock.ms + 5000
    assert claimed.fixed.id not in desk.line()
    clock.forward(4.9)
    assert ledger.due() == []
    clock.forward(0.1)
    assert ledger.due() == ["cpu.generate"]
    assert desk.line()[0] == claimed.fixed.id
    assert Job.of_record(ledger.record(claimed.fixed.id)).retry_at is None


def test_after_its_last_attempt_a_job_is_a_dead_letter(desk, ledger):
    """max_attempts starts, then failed with the last error, which stays retryable."""
    job = desk.submit(max_attempts=3)
    assert [desk.fail(desk.claim()) for _ in range(3)] == ["queued", "queued", "failed"]
    seen = Job.of_record(ledger.record(job.id))
    assert (seen.status, seen.error.code, seen.error.retryable) == ("failed", "storage_unavailable", True)
    assert [a.outcome for a in seen.attempts] == ["retry", "retry", "failed"]
    assert desk.claim() is None


def test_an_error_that_is_not_retryable_ends_the_job_at_once(desk, ledger):
    claimed = desk.running()
    assert desk.fail(claimed, InvalidInput("row 7 has no title"), delay_s=5) == "failed"
    assert Job.of_record(ledger.record(claimed.fixed.id)).error.detail == "row 7 has no title"
    assert ledger.redis.zcard(keys.DUE) == 0


def test_releases_are_listed_but_not_counted(desk):
    job = desk.submit(max_attempts=1)
    for _ in range(4):
        assert desk.release(desk.claim()) == "released"
    assert desk.attempts(job) == [("released", None)] * 4
    assert desk.commit(desk.claim()) == "succeeded"


def test_a_job_handed_back_for_ever_ends_as_worker_lost(desk, ledger):
    """Ten releases are free; after them each counts as an attempt."""
    job = desk.submit(max_attempts=2)
    assert [desk.release(desk.claim()) for _ in range(12)] == ["released"] * 10 + ["queued", "failed"]
    seen = Job.of_record(ledger.record(job.id))
    assert (seen.status, seen.error.code, len(seen.attempts)) == ("failed", "worker_lost", 12)


def test_a_cause_with_a_budget_is_counted_by_itself(desk):
    """Two losses and three refusals of the bucket, with one attempt of all other sorts; each at its limit."""
    job = desk.submit(max_attempts=1, retry={"worker_lost": 2, "storage_unavailable": 3})
    lost = WorkerLost("its process died")
    for error in (AWAY, lost, AWAY, lost, AWAY):
        assert desk.fail(desk.claim(), error) == "queued"
        desk.ledger.redis.hdel(keys.job(job.id), "suspect")  # who lost a process twice, alone, is guilty of it
    assert desk.fail(desk.claim(), AWAY) == "failed"
    assert desk.record(job)["budgeted"] == "5" and desk.ledger.redis.zscore(keys.dead("acme"), job.id)


@pytest.mark.parametrize(
    ("retry", "error", "ends"),
    [
        ({"worker_lost": 0}, WorkerLost("gone"), ["failed"]),
        ({"model_failed": 2}, ModelFailed("boom"), ["queued", "queued", "failed"]),
        ({"model_failed": 0}, AWAY, ["queued", "queued", "failed"]),
        ({}, ModelFailed("boom"), ["failed"]),
    ],
)
def test_a_budget_makes_a_cause_retried_as_often_as_it_says(desk, retry, error, ends):
    """Of none too, and of one that is not retried else; causes without a budget have max_attempts, here 3."""
    desk.submit(retry=retry)
    assert [desk.fail(desk.claim(), error) for _ in ends] == ends


def test_a_budget_never_outlives_the_deadline_nor_a_cancel(desk):
    job = desk.running(retry={"worker_lost": 5}, deadline_s=10)
    assert desk.fail(job, WorkerLost("gone"), delay_s=10) == "failed"
    job = desk.running(retry={"worker_lost": 5})
    desk.cancel(job)
    assert desk.fail(job, WorkerLost("gone")) == "canceled"


def test_a_sweep_counts_by_the_budget_and_suspects_before_the_last_attempt(desk):
    """Not before: else all jobs of a worker that is gone would queue up to run alone."""
    job = desk.running(max_attempts=1, retry={"worker_lost": 2})
    desk.swept(after_s=10)
    suspects = []
    for _ in range(2):
        desk.ledger.clock.forward(1)
        desk.swept()
        suspects.append("suspect" in desk.record(job))
        desk.claim()
        desk.swept(after_s=11)
    assert suspects == [False, True] and desk.status(job) == "failed"


@pytest.mark.parametrize("cause", ["drain", "neighbour"])
def test_what_is_nobodys_fault_never_makes_a_dead_letter(desk, cause):
    """An autoscaler drains a job twelve times, or its neighbours end its process as often: it waits on, and runs."""
    job = desk.submit(max_attempts=1)
    assert [desk.release(desk.claim(), cause=cause) for _ in range(12)] == ["released"] * 12
    assert desk.commit(desk.claim()) == "succeeded" and desk.status(job) == "succeeded"


def test_drains_between_a_jobs_own_releases_are_not_among_the_ten(desk):
    desk.submit(max_attempts=1)
    answers = [desk.release(desk.claim(), cause=cause) for _ in range(10) for cause in ("own", "drain")]
    assert answers == ["released"] * 20 and desk.release(desk.claim()) == "failed"


def test_a_worker_of_an_older_release_gives_no_cause(desk, ledger):
    """Its call has three arguments: the release is the job's own."""
    claimed = desk.running()
    assert ledger._run("release", [keys.job(claimed.fixed.id)], [claimed.fixed.id, claimed.token], str) == "released"
    assert desk.record(claimed)["own"] == "1"


def test_of_very_many_attempts_the_last_fifty_are_kept(desk, ledger):
    """A record must not grow for as long as something else keeps going wrong."""
    job = desk.submit()
    for _ in range(60):
        desk.release(desk.claim(), cause="neighbour")
    seen = Job.of_record(ledger.record(job.id))
    assert [attempt.number for attempt in seen.attempts] == list(range(11, 61))
    assert sum(name.startswith("t:") for name in ledger.record(job.id)) == 50


def test_an_attempt_that_did_not_commit_leaves_its_prefix_on_the_trash_list(desk, ledger):
    """The committed one does not; tests of the keeper show that it deletes no other."""
    job = desk.submit()
    first = desk.claim()
    desk.fail(first)
    desk.commit(desk.claim())
    assert ledger.redis.zrange(keys.TRASH, 0, -1) == [f"tenants/acme/jobs/{job.id}/1-{first.token[-8:]}/"]


def test_a_report_is_shown_to_people(desk, ledger, clock):
    claimed = desk.running()
    clock.forward(1)
    assert ledger.report(claimed.fixed.id, claimed.token, "running", 0.25, "page 3 of 12") == "noted"
    seen = Job.of_record(ledger.record(claimed.fixed.id))
    assert (seen.phase, seen.progress, seen.message) == ("running", 0.25, "page 3 of 12")


def test_reports_of_several_attempts_are_one_trip_and_each_is_answered(desk, ledger):
    """One that is asked to stop, one that has ended and one whose record is broken cost the others nothing."""
    running, canceling, ended, broken, last = (desk.running() for _ in range(5))
    ledger.cancel("acme", canceling.fixed.id)
    desk.commit(ended)
    ledger.redis.set(keys.job(broken.fixed.id), "no record")
    all_five = (running, canceling, ended, broken, last)
    told = [{"job_id": each.fixed.id, "token": each.token, "message": "page 3"} for each in all_five]
    assert ledger.report_all(told) == ["noted", "canceling", "lost", "fault", "noted"]
    assert [desk.record(each).get("message") for each in (running, ended, last)] == ["page 3", None, "page 3"]


def test_a_renewal_tells_the_phase_and_since_when(desk, ledger, clock):
    """For whoever looks from outside; the worker's own clocks are its board's."""
    claimed = desk.running()
    for phase, seconds in (("fetching", 1), ("loading", 30), ("running", 2)):
        ledger.report(claimed.fixed.id, claimed.token, phase)
        clock.forward(seconds)
    held = ledger.renew(desk.worker)[1][0]
    assert (held.phase, held.run_ms, clock.ms - held.phase_ms) == ("running", 60_000, 2000)


def test_batching_is_a_phase_that_an_older_release_reads_as_running(desk, ledger):
    """An API of the release before, beside a worker of this one, must be able to show the job."""
    claimed, report = desk.running(), lambda phase: ledger.report(claimed.fixed.id, claimed.token, phase)
    assert [report("batching"), report("batching")] == ["noted", "noted"]
    record = ledger.record(claimed.fixed.id)
    assert (Job.of_record(record).phase, record["phase"]) == ("batching", "running")
    report("running")
    assert Job.of_record(ledger.record(claimed.fixed.id)).phase == "running"
    report("batching")
    desk.fail(claimed)
    desk.claim()
    assert Job.of_record(ledger.record(claimed.fixed.id)).phase == "running"


def test_a_report_after_the_end_is_ignored(desk, ledger):
    claimed = desk.running()
    desk.commit(claimed)
    before = desk.record(claimed)
    assert ledger.report(claimed.fixed.id, claimed.token, "running", 0.5, "still here") == "lost"
    assert desk.record(claimed) == before


def test_a_new_attempt_starts_without_the_old_ones_progress(desk, ledger):
    claimed = desk.running()
    ledger.report(claimed.fixed.id, claimed.token, "running", 0.9, "almost")
    desk.fail(claimed)
    desk.claim()
    seen = Job.of_record(ledger.record(claimed.fixed.id))
    assert (seen.phase, seen.progress, seen.message) == ("running", None, None)


def test_an_error_keeps_its_words(desk):
    """Whatever a detail holds, it comes back as it was."""
    claimed = desk.running()
    error = ModelFailed('line 1\n"quoted" é 🎬 \\ 100%')
    desk.fail(claimed, error)
    assert json.loads(desk.record(claimed)["error"]) == error.as_dict()
    assert desk.fail(claimed, AWAY) == "failed"
