"""Schedules that are due: one job a time though two keepers run and die, what is missed, what fails, and a restore."""

import json
from datetime import UTC, datetime

import pytest

from tasks.errors import NotReady
from tasks.ids import now_ms
from tasks.ledger import keys
from tasks.request import parse
from tasks.schedule import SchedulePatch, ScheduleRequest
from tasks.service import erasure, schedules
from tasks.service.jobs import Jobs
from tasks.service.schedules import FAILURES_MAX, Schedules
from worker.keeper import segments
from worker.keeper.compact import Compactor
from worker.keeper.erasures import Erasures
from worker.keeper.journal import Journal
from worker.keeper.restore import Restore
from worker.keeper.schedules import Runs
from worker.keeper.skipped import Skipped

JOB = {"kind": "generate", "model": "lstm", "input": {"prompt": "Once"}, "metadata": {"n": 1}}


class House:
    def __init__(self, settings, ledger, storage) -> None:
        self.settings, self.ledger, self.storage = settings, ledger, storage
        self.jobs = Jobs.of(settings)
        self.of_acme = Schedules(self.jobs)

    def made(self, **changes):
        return self.of_acme.create("acme", ScheduleRequest(**{"cron": "0 6 * * *", "job": JOB, **changes}))

    def due(self, schedule, ago_s: float = 0.0) -> int:
        """Its next run was due so long ago."""
        at = now_ms() - round(ago_s * 1000)
        self.ledger.redis.hset(keys.schedule("acme", schedule.id), "next_ms", at)
        self.ledger.redis.zadd(keys.SCHEDULES, {f"acme/{schedule.id}": at})
        return at

    def round(self) -> None:
        """A round of a keeper that has just started."""
        self.skipped = Skipped("schedules")
        Runs(Jobs.of(self.settings)).round(self.skipped)

    def now(self, schedule):
        return self.of_acme.get("acme", schedule.id)

    def made_jobs(self) -> list:
        return self.jobs.list("acme").jobs

    def written(self) -> None:
        journal = Journal(self.ledger, self.storage)
        journal.write_segments()
        journal.write_job_json(for_s=5)

    def flushed_and_restored(self) -> None:
        self.ledger.redis.flushdb()
        Restore(self.settings, self.ledger.redis, self.storage).run()


@pytest.fixture
def house(settings, ledger, storage) -> House:
    return House(settings, ledger, storage)


def test_a_due_schedule_makes_a_job_that_names_it(house):
    schedule = house.made()
    due_ms = house.due(schedule)
    house.round()
    (job,) = house.made_jobs()
    assert (job.schedule, job.metadata, job.status, job.model) == (schedule.id, {"n": 1}, "queued", "lstm")
    now = house.now(schedule)
    assert now.last_run.job == job.id and now.last_run.due_at == datetime.fromtimestamp(due_ms / 1000, UTC)
    assert now.next_runs == schedule.next_runs
    house.round()
    assert len(house.made_jobs()) == 1


def test_a_keeper_that_died_behind_the_submit_makes_no_second_job(house, monkeypatch):
    """Nor does a second keeper at the same time, nor one that comes when the job is done and forgotten."""
    schedule = house.made()
    house.due(schedule, ago_s=2)

    def dies(*_, **__):
        raise NotReady("killed")

    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(NotReady):
            patch.setattr("tasks.ledger.schedules.Schedules.put_schedule", dies)
            house.round()
    (job,) = house.made_jobs()
    assert house.now(schedule).last_run is None
    house.jobs.cancel("acme", job.id)
    house.written()
    house.jobs.delete("acme", job.id)
    house.round()
    assert house.made_jobs() == [] and house.now(schedule).last_run.job == job.id


def test_of_two_keepers_one_notes_the_run(house):
    schedule = house.made()
    house.due(schedule)
    known = house.ledger.schedule("acme", schedule.id)
    answers = []
    ask = house.ledger.put_schedule

    def both(new, base="", restoring=""):
        if not answers:
            answers.append(Schedules(Jobs.of(house.settings)).run("acme", schedule.id))
        return ask(new, base, restoring)

    house.of_acme.ledger = house.jobs.ledger
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(house.jobs.ledger, "put_schedule", both)
        answers.append(house.of_acme.run("acme", schedule.id))
    assert answers == [True, False] and len(house.made_jobs()) == 1
    assert house.ledger.schedule("acme", schedule.id).change != known.change


@pytest.mark.parametrize(("missed", "ago_s", "jobs"), [("skip", 59, 1), ("skip", 61, 0), ("once", 7200, 1)])
def test_missed_runs_are_skipped_or_made_up_for_once(house, missed, ago_s, jobs):
    """By a minute: two hours of a schedule of each minute make one job, or none."""
    schedule = house.made(cron="* * * * *", missed=missed)
    house.due(schedule, ago_s)
    house.round()
    assert len(house.made_jobs()) == jobs
    now = house.now(schedule)
    assert (now.last_run.error.code if now.last_run.error else None) == (None if jobs else "missed")
    assert now.failures == 0 and (ago_s < 60 or now.next_runs[0] > datetime.now(UTC))


def test_a_refused_job_is_shown_and_ten_in_a_row_pause(house):
    """Others run on. Resumed, it begins anew."""
    broken, well = house.made(), house.made()
    key = keys.schedule("acme", broken.id)
    content = json.loads(house.ledger.redis.hget(key, "content"))
    content["job"]["model"] = "gone"
    house.ledger.redis.hset(key, "content", json.dumps(content))
    for _ in range(FAILURES_MAX):
        assert not house.now(broken).paused
        house.due(broken)
        house.round()
    house.due(well)
    house.round()
    now = house.now(broken)
    assert now.paused and now.failures == FAILURES_MAX and now.next_runs == []
    assert now.last_run.error.code == "unknown_model" and now.last_run.job is None
    assert [job.schedule for job in house.made_jobs()] == [well.id]
    resumed = house.of_acme.change("acme", broken.id, SchedulePatch(paused=False, job={"model": "lstm"}))
    assert resumed.failures == 0 and resumed.next_runs
    house.due(broken)
    house.round()
    assert house.now(broken).last_run.error is None


def test_a_job_that_is_named_is_waited_for_at_each_run_and_missed_once_it_is_gone(house):
    """Each run looks for it anew; a schedule keeps no job that it names."""
    first = house.jobs.submit("acme", parse(json.dumps(JOB))).job
    schedule = house.made(job={**JOB, "input": {"prompt": {"url": f"job:{first.id}"}}})
    house.due(schedule)
    house.round()
    made = house.jobs.get("acme", house.now(schedule).last_run.job)
    assert (made.status, made.waits_for) == ("scheduled", [first.id])
    house.jobs.cancel("acme", first.id)
    house.due(schedule)
    house.round()
    assert house.now(schedule).last_run.error.code == "dependency_failed" and house.now(schedule).failures == 1


def test_a_quota_that_is_full_is_a_refusal(house):
    schedule = house.made()
    tight = house.settings.model_copy(update={"max_waiting_jobs": 1})
    house.settings = tight
    house.due(house.made())
    house.round()
    house.due(schedule)
    house.round()
    assert house.now(schedule).last_run.error.code == "quota_exceeded" and len(house.made_jobs()) == 1


def test_a_schedule_that_cannot_be_read_stops_no_other(house):
    odd, well = house.made(), house.made()
    house.ledger.redis.hset(keys.schedule("acme", odd.id), "content", "{")
    house.due(odd, ago_s=1)
    house.due(well)
    house.round()
    assert [job.schedule for job in house.made_jobs()] == [well.id] and house.skipped.count == 1
    assert [one.id for one in house.of_acme.list("acme")] == [well.id]
    house.of_acme.delete("acme", odd.id)


def test_a_bucket_that_does_not_answer_moves_no_due_time(house, monkeypatch):
    """The job's id follows from it."""
    schedule = house.made()
    due_ms = house.due(schedule, ago_s=2)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.bucket.storage.Storage.head", _away)
        with pytest.raises(NotReady, match="the bucket did not answer"):
            house.round()
    assert house.made_jobs() == []
    house.round()
    assert house.now(schedule).last_run.due_at == datetime.fromtimestamp(due_ms / 1000, UTC)


def test_an_erased_tenant_has_none(house):
    """Nor does one come back from the journal."""
    house.made(name="a secret of the tenant")
    house.written()
    erasures = Erasures(house.ledger, house.storage)
    asked = erasure.ask(house.storage, "acme", "operator")
    for _ in range(4):
        asked = erasures.erase(asked)
    assert asked.done and house.of_acme.list("acme") == [] and not house.ledger.redis.exists(keys.SCHEDULES)
    house.flushed_and_restored()
    assert house.of_acme.list("acme") == []


def _away(*_):
    raise schedules.StorageUnavailable("the bucket did not answer")


def test_after_a_flush_schedules_are_as_they_were_left(house):
    """Changed, run and deleted ones; also from compacted segments, of which a second restore reads."""
    kept, run, deleted, paused = (house.made(name=name) for name in ("kept", "run", "deleted", "paused"))
    house.written()
    house.due(run)
    house.round()
    house.of_acme.change("acme", kept.id, SchedulePatch(name="changed"))
    house.of_acme.change("acme", paused.id, SchedulePatch(paused=True))
    house.of_acme.delete("acme", deleted.id)
    house.written()
    before = house.of_acme.list("acme")
    house.flushed_and_restored()
    assert house.of_acme.list("acme") == before
    assert [job.schedule for job in house.made_jobs()] == [run.id]
    house.written()
    compactor = Compactor(house.ledger, house.ledger.redis, house.storage)
    for name in segments.names(house.storage):
        compactor.compact(name)
    entries = [entry for name in segments.names(house.storage) for entry in segments.read(house.storage, name)]
    of_schedules = [(entry["id"], bool(entry["content"])) for entry in entries if entry["type"] == "schedule"]
    assert sorted(set(of_schedules)) == sorted(
        [(kept.id, True), (run.id, True), (paused.id, True), (deleted.id, False)]
    )
    house.flushed_and_restored()
    assert house.of_acme.list("acme") == before
    house.due(run)
    house.round()
    assert len(house.made_jobs()) == 2
