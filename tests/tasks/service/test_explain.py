"""Facts become sentences: what a job waits for is the first thing that keeps it from starting. No Redis, no bucket."""

from dataclasses import replace

import pytest

from tasks.ledger.keepers import DutyShown, Keepers
from tasks.service.explain import _span, explain
from tasks.service.facts import Facts, Server

NOW = 1_800_000_000_000.0
RECORD = {
    "status": "queued",
    "tenant": "acme",
    "line": "gpu.generate:lstm",
    "fixed": '{"input": {"prompt": "secret"}}',
    "priority": "0",
    "created_ms": str(NOW - 5000),
    "start_by_ms": str(NOW + 3_600_000),
    "run_ms": "60000",
    "keep_ms": "1000",
    "max": "3",
    "since_ms": str(NOW - 5000),
}
KEEPERS = Keepers(alive=1, duties=[])
BUSY = Server("w1", serves=True, slots=1, busy=1, draining=False, seen_s=0.2)
FREE = replace(BUSY, id="w2", busy=0)
WAITING = Facts("job_1", NOW, tenant="acme", record=RECORD, rank=1, length=2, bells=1, keepers=KEEPERS, workers=[FREE])


def with_fields(facts: Facts, **fields) -> Facts:
    return replace(facts, record={**facts.record, **fields})


RUNNING = replace(
    with_fields(
        WAITING,
        status="running",
        token="t",
        worker="w1",
        slot="w1:7:8:9",
        starts="1",
        phase="running",
        phase_ms=str(NOW - 2000),
    ),
    rank=None,
    lease_ms=NOW + 9000,
    holds_slot=True,
    workers=[BUSY],
)


@pytest.mark.parametrize(
    ("changed", "word", "sentence"),
    [
        ({"reconciled": False}, "reconciliation", "until a keeper has reconciled with this start of Redis"),
        ({"damaged": ["it has no line"]}, "repair", "its record is damaged"),
        ({"due_ms": NOW + 90_000, "rank": None}, "retry_at", "its retry, in 1 min 30 s (2027-01-15T08:01:30Z)"),
        ({"due_ms": NOW - 60_000, "rank": None}, "keeper", "its retry was due 1 min 0 s ago"),
        ({"pauses": {"pool/gpu": "a bad release"}}, "pause", "pool/gpu is paused: a bad release"),
        ({"pauses": {"model/generate/lstm": ""}}, "pause", "model/generate/lstm is paused."),
        (
            {"orphan_ms": NOW - 3000, "is_model_known": False},
            "known_model",
            "since 3.0 s; this API's models.toml has none",
        ),
        ({"parked": True, "rank": None, "running": 4, "most_running": 4}, "tenant_limit", "now 4 of 4 that it may"),
        ({"rank": None}, "repair", "in no line, no list of times and not parked"),
        ({"workers": []}, "worker", "none is alive that takes new jobs"),
        ({"workers": [replace(FREE, draining=True)]}, "worker", "none is alive that takes new jobs"),
        ({"workers": [replace(FREE, serves=False)]}, "worker", "none is alive that takes new jobs"),
        (
            {"workers": [BUSY, replace(BUSY, slots=3, busy=3)]},
            "slot",
            "all 4 of the workers that serve its line are busy",
        ),
        ({"workers": [replace(BUSY, slots=2)], "alone_until_ms": NOW + 1}, "lone_process", "nothing beside it"),
        ({"rank": 3, "length": 9}, "turn", "2 jobs of its line go first"),
        ({"bells": 0, "keepers": Keepers(alive=0, duties=[])}, "bell", "no keeper is alive to ring"),
        ({}, "turn", "it should start within seconds"),
    ],
)
def test_what_a_job_waits_for_is_told_last(changed, word, sentence):
    told = explain(replace(WAITING, **changed))
    assert told.waits_for == word and sentence in told.sentences[-1], told


def test_earlier_causes_hide_later_ones():
    """A paused tenant's job without a worker is told of the pause: a worker alone would not start it."""
    assert explain(replace(WAITING, workers=[], pauses={"tenant/acme": ""})).waits_for == "pause"


def test_a_job_in_a_chain_waits_for_its_sources():
    told = explain(replace(with_fields(WAITING, status="scheduled", waits="job_2 job_3"), rank=None))
    assert (told.waits_for, told.sentences[-1]) == ("jobs", "It waits until these jobs have succeeded: job_2, job_3.")


def test_a_scheduled_job_waits_for_its_start_time():
    told = explain(replace(with_fields(WAITING, status="scheduled"), rank=None, due_ms=NOW + 7_200_000))
    assert told.waits_for == "start_at" and "its start time, in 2 h 0 min" in told.sentences[-1]


def test_a_waiting_job_is_told_in_order():
    late = DutyShown(name="sweep", late=True, errors=1, skipped=0, error="x", succeeded_s=99)
    told = explain(replace(WAITING, keepers=Keepers(alive=1, duties=[late]))).sentences
    assert told[:-1] == [
        "job_1 is queued: a generate job for lstm of the tenant acme, submitted 5.0 s ago (2027-01-15T07:59:55Z).",
        "It was never started; it may be started 3 times.",
        "It expires unless it starts within 1 h 0 min (queue_ttl_s).",
        "It is number 1 of 2 in the line gpu.generate:lstm.",
        "The worker w2 serves this line: 0 of 1 slots are busy, heard 0.2 s ago.",
        "1 bell is in the queue gpu.generate.",
        "The keeper is late with sweep.",
    ]


def test_a_running_job_tells_its_lease_slot_and_phase():
    told = explain(RUNNING)
    assert told.waits_for is None and told.sentences[-4:] == [
        "Attempt 1 runs on w1, in the slot w1:7:8:9.",
        "It has been running for 2.0 s, of 1 min 0 s that run_timeout_s allows.",
        "The worker was last heard 0.2 s ago.",
        "Its lease lapses in 9.0 s unless the worker renews it.",
    ]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"lease_ms": NOW - 3000}, "Its lease lapsed 3.0 s ago: the next sweep takes the attempt back"),
        ({"lease_ms": None}, "It has no lease"),
        ({"holds_slot": False}, "That slot no longer names this attempt."),
        ({"workers": []}, "The worker is not alive."),
        ({"keepers": Keepers(alive=0, duties=[])}, "No keeper is alive"),
    ],
)
def test_what_is_wrong_with_a_running_job_is_told(changed, sentence):
    assert sentence in " ".join(explain(replace(RUNNING, **changed)).sentences)


def test_attempts_are_told_by_their_codes_and_never_by_their_words():
    attempt = (
        '{"number": 1, "worker": "w1", "started_ms": 1000, "ended_ms": 3500, "outcome": "retry",'
        ' "error": {"code": "worker_lost", "detail": "secret"}}'
    )
    told = " ".join(
        explain(
            with_fields(
                WAITING,
                starts="2",
                releases="1",
                **{"attempt:1": attempt},
                suspect="1",
                message="secret",
                error='{"code": "timeout", "detail": "secret"}',
            )
        ).sentences
    )
    assert "It was started 2 times; 1 of 3 starts count, 1 handed back." in told
    assert "Attempt 1 on w1 ended as retry with worker_lost after 2.5 s." in told and "nothing beside it" in told
    assert "secret" not in told


def test_an_ended_job_waits_for_nothing():
    ended = with_fields(
        WAITING,
        status="failed",
        ended_ms=str(NOW - 1000),
        retained_ms=str(NOW + 86_400_000),
        error='{"code": "worker_lost"}',
        shrunk="1",
    )
    told = explain(replace(ended, rank=None, is_dead_letter=True))
    assert told.waits_for is None and told.sentences[-4:] == [
        "It failed 1.0 s ago (2027-01-15T07:59:59Z) with worker_lost.",
        "It is a dead letter: it can be replayed.",
        "Its record has shrunk: job.json in the bucket tells what was large.",
        "Record and outputs are kept until 2027-01-16T08:00:00Z.",
    ]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"status": "queued"},
        {**RECORD, "created_ms": "soon", "starts": "many", "max": "nan"},
        {**RECORD, "status": "running"},
        {**RECORD, "ended_ms": "never", "error": "no json", "retained_ms": "1e300"},
        {**RECORD, "status": "dancing", "starts": "1e9", "attempt:3": "[]", "deadline_ms": "inf"},
        {**RECORD, "line": "nowhere", "starts": "2", "attempt:1": '{"number": 1}', "attempt:2": "no json"},
    ],
)
def test_whatever_is_damaged_is_told(record):
    told = explain(Facts("job_1", NOW, record=record, damaged=["it has no status"]))
    assert told.sentences and all(sentence.endswith(".") for sentence in told.sentences)


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0.0 s"),
        (-5, "0.0 s"),
        (59_900, "59.9 s"),
        (61_000, "1 min 1 s"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_a_span_has_two_units(ms, words):
    assert _span(ms) == words
