"""What no text may have in it, and records that cannot be read, are a fault of their one job: it ends and says why, and
the honest tenant sees nothing of it."""

import pytest

from tasks.ledger import Ledger, keys
from tests.stack import until

ENDS_S = 60


def submit(town, model: str, prompt: str) -> str:
    answer = town.client.post("/v1/jobs", json={"kind": "generate", "model": model, "input": {"prompt": prompt}})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def shown(town, job_id: str) -> dict:
    answer = town.client.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(town, job_id: str) -> dict:
    return until(lambda: (job := shown(town, job_id))["done"] and job, ENDS_S, f"{job_id} has ended")


@pytest.fixture(scope="module")
def ledger(town):
    return Ledger(town.stack.settings)


@pytest.mark.parametrize(
    ("prompt", "code", "words"),
    [
        ("raise", "model_failed", "RuntimeError: bad � ERROR forged line"),
        ("wordless", "model_failed", "Wordless: (no words: RuntimeError)"),
        ("error", "unsupported_media", "bad � ERROR forged line"),
        ("result", "model_failed", "lone surrogate"),
        ("name", "model_failed", "an output of the name"),
    ],
)
def test_a_models_foul_words_end_its_job_with_what_can_be_shown(town, prompt, code, words):
    """At the first attempt: the ledger takes its end, and the job says what it was."""
    job = ended(town, submit(town, "cpu-foul", prompt))
    assert (job["status"], job["error"]["code"], len(job["attempts"])) == ("failed", code, 1)
    assert words in job["error"]["detail"] and "\n" not in job["error"]["detail"]
    assert len(job["error"]["detail"]) <= 2000
    assert town.client.get("/v1/jobs").status_code == 200


def test_a_foul_message_is_shown_clean_and_progress_goes_on(town):
    job_id = submit(town, "cpu-foul", "message")
    job = until(lambda: (job := shown(town, job_id))["message"] and job, ENDS_S, "the message is shown")
    assert job["message"].startswith("bad � ERROR forged line") and len(job["message"]) <= 1000
    town.client.post(f"/v1/jobs/{job_id}/cancel")
    assert ended(town, job_id)["status"] == "canceled"


def test_a_poisoned_line_costs_the_honest_tenant_nothing(town, ledger):
    """Members without a record, and records of another type or with nonsense in them, before its jobs: claims go on to
    the next, and the keeper tells of each."""
    line, redis = keys.line("cpu.generate:cpu-noop"), ledger.redis
    redis.set(keys.job("job_text"), "x")
    redis.hset(keys.job("job_odd"), mapping={"status": "queued", "tenant": "stranger", "line": "?"})
    poison = ["job_text", "job_odd", *(f"job_gone{n}" for n in range(30))]
    with town.honest.beside("a poisoned line") as seen:
        redis.zadd(line, dict.fromkeys(poison, -1000))
        until(lambda: not redis.zmscore(line, poison[:1])[0], ENDS_S, "the poison is taken out")
        until(lambda: seen.jobs >= 5, ENDS_S, "the honest tenant goes on")
    assert seen.jobs and not seen.errors
    assert not any(redis.zmscore(line, poison))
    assert {entry["id"] for _, entry in redis.xrange(keys.FAULTS)} >= set(poison)
    keeper = next(town.stack.folder.glob("keeper-*.log"))
    until(lambda: "set_aside: skipped" in keeper.read_text(), ENDS_S, "the keeper tells of it")


def test_a_record_that_breaks_while_its_job_runs_ends_it_and_frees_the_slot(town, ledger):
    """Neither its renewal nor its end can be written: it has failed, and says why; the worker goes on."""
    job_id = submit(town, "cpu-sleep", "30")
    until(lambda: shown(town, job_id)["status"] == "running", ENDS_S, "it runs")
    ledger.redis.hset(keys.job(job_id), "keep_ms", "long")
    job = ended(town, job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "ledger_fault")
    assert "keep_ms is no number" in job["error"]["detail"]
    for _ in range(4):
        assert ended(town, submit(town, "cpu-noop", "next"))["status"] == "succeeded"
