"""The log of a job: all that its model wrote, nothing of another's, nothing that is the operator's."""

import re
import sys

import pytest

from tasks.bucket.layout import logs_prefix
from tasks.errors import NotFound
from tasks.ledger import keys
from tasks.service import logs
from tasks.service.looks import Ask, Looks
from tests.stack import PASSWORD, ROOT, SECRET_KEY, until


def log_of(house, job, attempt=None) -> str:
    return logs.read(house.storage, Looks(house.ledger), job, attempt)


def told(house, prompt: str, pool: str = "cpu", **limits) -> str:
    """The log of a job that ran by this prompt."""
    return log_of(house, house.ended(house.submit(f"{pool}-talk", prompt, **limits)))


@pytest.mark.parametrize(
    ("prompt", "log"),
    [
        ("out hello", "hello\n"),
        ("err hello", "hello\n"),
        ("descriptors x", "one x\ntwo x\n"),
        ("c no line's end", "no line's end"),
        ("child hello", "hello\n"),
        ("silent", ""),
    ],
)
def test_what_is_written_by_any_means_is_there_when_the_job_is_done(house, prompt, log):
    assert told(house, prompt) == log


def test_lines_of_loggers_and_warnings_are_there_on_both_pools(house, pool):
    """Each time, though Python shows a warning once a process; lines of Backlot's own loggers are not."""
    assert told(house, "logger it", pool) == "it\nWARNING: beware of it\na library says it\n"
    for _ in range(3):
        assert re.fullmatch(
            r"tests/models/talk\.py:\d+: UserWarning: take care\n.*\n", told(house, "warn take care", pool)
        )


def test_standard_output_of_a_shared_process_is_nobodys(house):
    assert told(house, "out hello there", "gpu") == ""
    assert "hello there" in house.workers["gpu"].log()


def test_a_failure_has_its_traceback_without_the_servers_folders(house, pool):
    """The error's detail stays one sentence."""
    job = house.ended(house.submit(f"{pool}-talk", "fail for this reason"))
    assert job.error.code == "model_failed" and "\n" not in job.error.detail
    log = log_of(house, job)
    before = "before\n" if pool == "cpu" else ""
    assert log.startswith(f"{before}ERROR: the model failed\nTraceback (most recent call last):\n")
    assert 'File "tests/models/talk.py", line ' in log and "ValueError: for this reason outputs" in log
    assert str(ROOT) not in log and sys.prefix not in log and "backlot-" not in log


def test_a_model_that_closes_its_output_takes_nobody_elses(house):
    """Nor is the next job of the same process without a log."""
    for _ in range(3):
        told(house, "close")
        assert told(house, "out still here") == told(house, "err still here") == "still here\n"


def test_secrets_are_hidden(house):
    """Passwords and keys of the settings, keys of callers, queries of links."""
    said = f"{PASSWORD} {SECRET_KEY} bk_{'a' * 43} redis://:pass@redis/0 https://s3/b/k.wav?X-Amz-Signature=abc /a/b/c"
    assert told(house, f"out {said}") == "*** *** *** redis://***@redis/0 https://s3/b/k.wav?*** c\n"


def test_bytes_that_are_no_text_are_shown_as_such(house):
    log = told(house, "binary behind it")
    assert (
        log.endswith("\nbehind it\n") and "\N{REPLACEMENT CHARACTER}" in log and "\0" not in log and "\x1b" not in log
    )


def test_of_a_hundred_mebibytes_the_beginning_and_the_end_are_kept(house):
    """The line between them tells how much is left out; the disk is given back meanwhile."""
    job = house.ended(house.submit("cpu-talk", "much 100"))
    log = log_of(house, job)
    assert log.startswith("the first line\nxxx") and log.endswith("xxx\nthe last line\n")
    (left_out,) = re.findall(r"\n\[([\d,]+) bytes are left out here\]\n", log)
    whole = 100 * 2**20 + len("the first line\n\nthe last line\n")
    assert int(left_out.replace(",", "")) + len(log) - len(f"\n[{left_out} bytes are left out here]\n") == whole
    assert len(log) < 300_000


def test_what_writes_after_the_end_writes_into_no_other_jobs_log(house, tmp_path):
    """A thread and a process that a job has left behind."""
    end = tmp_path / "end"
    try:
        assert "in time" in told(house, f"late {end}")
        for number in range(20):
            assert told(house, f"out {number}", tenant="other") == f"{number}\n"
    finally:
        end.touch()


def test_two_slots_write_at_once(house):
    """Each job has its own lines, whichever process ran it."""
    jobs = {house.submit("cpu-talk", f"descriptors {number}"): number for number in range(40)}
    for job, number in jobs.items():
        assert log_of(house, house.ended(job)) == f"one {number}\ntwo {number}\n"


KILLED = {
    "cpu die": ("worker_lost", "so far"),
    "cpu hang": ("timeout", "so faralso by the logger\n"),
    "gpu hang": ("timeout", "also by the logger\n"),
}


@pytest.mark.parametrize("killed", KILLED)
def test_a_killed_attempt_keeps_what_it_had_written(house, killed):
    """In mid-line too; the parent keeps it, behind the job's end."""
    (pool, way), (code, log) = killed.split(), KILLED[killed]
    job = house.ended(house.submit(f"{pool}-talk", f"{way} so far", max_attempts=1, run_timeout_s=1))
    assert job.error.code == code
    until(lambda: log_of(house, job) == log, 20, f"{log!r} is kept")


def test_each_attempt_has_its_own(house):
    """The last is shown where none is named."""
    job = house.ended(house.submit("cpu-talk", "die once", max_attempts=2))
    until(lambda: list(house.storage.list(logs_prefix("acme", job.id)))[1:], 20, "both are kept")
    assert [log_of(house, job, number) for number in (1, 2, None)] == ["once"] * 3
    with pytest.raises(NotFound):
        log_of(house, job, 3)


def test_a_log_lies_beside_the_attempts_and_goes_with_the_job(house):
    """The trash, which takes the folder of an attempt that failed, leaves it."""
    job = house.ended(house.submit("cpu-talk", "fail now", max_attempts=1))
    (kept,) = house.storage.list(logs_prefix("acme", job.id))
    assert re.fullmatch(rf"tenants/acme/jobs/{job.id}/logs/1-\w{{8}}\.txt", kept.key)
    assert not [prefix for prefix in house.ledger.redis.zrange(keys.TRASH, 0, -1) if "/logs/" in prefix]


def test_a_log_is_told_while_it_is_written(house, pool, tmp_path):
    """Line by line, by its offset; the record forgets it at the end, and the bucket has all of it then."""
    end = tmp_path / "end"
    job_id = house.submit(f"{pool}-talk", f"slowly {end}")
    looks = Looks(house.ledger)
    first = until(lambda: looks.at([Ask(job_id)])[Ask(job_id)].log, 20, "a first line")
    assert (first.attempt, first.offset) == (1, 0) and first.text.startswith("line 1\n")
    behind = Ask(job_id, log_attempt=1, log_offset=len(first.text))
    more = until(lambda: (log := looks.at([behind])[behind].log) and log.text and log, 20, "more")
    assert (more.attempt, more.offset) == (1, len(first.text)) and more.text.startswith("line ")
    assert log_of(house, house.job(job_id)).startswith(first.text + more.text)
    end.touch()
    job = house.ended(job_id)
    assert log_of(house, job).startswith(first.text + more.text)
    assert not house.ledger.redis.exists(keys.log(job_id)) and "log" not in house.ledger.record(job_id)


def test_a_job_that_writes_nothing_reports_no_log(house, pool):
    job = house.ended(house.submit(f"{pool}-sleep", "0.5"))
    assert not list(house.storage.list(logs_prefix("acme", job.id)))
