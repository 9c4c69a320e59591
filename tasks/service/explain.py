"""Sentences about one job for an operator: what it is, where it stands, and what it waits for. Facts in, words out.

It asks nobody. It shows no input, param, metadata, result or error text: only names, numbers, times and codes.
"""

import json
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, Field

from tasks.job import Job, Status, moment
from tasks.service.facts import Facts, Server

WaitsFor = Literal[
    "reconciliation",
    "jobs",
    "start_at",
    "retry_at",
    "pause",
    "known_model",
    "tenant_limit",
    "same_work",
    "worker",
    "lone_process",
    "slot",
    "turn",
    "bell",
    "keeper",
    "repair",
]
NAMED = 10
"""Workers, or attempts, that are named one by one, at most."""
LATE_S = 2
"""Seconds of two keeper rounds: the keeper has missed a time that is longer past."""


class Explanation(BaseModel):
    """The state of one job, for a person and for a program."""

    object: Literal["explanation"] = "explanation"
    id: str
    tenant: str | None = Field(description="whose job it is, or whose things were looked through")
    status: str | None = Field(description="as the record or job.json has it; null: there is neither")
    waits_for: WaitsFor | None = Field(
        description="what keeps the job from starting; null: nothing does, or it runs or has ended. More words may come"
    )
    sentences: list[str] = Field(description="for a person, in the order in which to read them")


def explain(facts: Facts) -> Explanation:
    """Never raises, whatever is damaged."""
    if facts.archived:
        return _of(facts, facts.archived.status, [_reconciled(facts), *_archived(facts, facts.archived)])
    if not facts.record and not facts.damaged:
        return _of(
            facts, None, [_reconciled(facts), *_without_record(facts)], None if facts.reconciled else "reconciliation"
        )
    status = facts.record.get("status")
    told = [_reconciled(facts), *_record(facts), *_attempts(facts)]
    if "ended_ms" in facts.record:
        return _of(facts, status, [*told, *_ended(facts)])
    if status in (Status.RUNNING, Status.CANCELING):
        return _of(
            facts,
            status,
            [*told, *_clocks(facts), *_running(facts), *_keeper(facts)],
            None if facts.reconciled else "reconciliation",
        )
    waits_for, why = _waits(facts)
    around = [*_clocks(facts), *_line(facts), *_workers(facts), *_bells(facts), *_keeper(facts)]
    return _of(facts, status, [*told, *around, why], waits_for)


def _of(facts: Facts, status: str | None, told: list[str], waits_for: WaitsFor | None = None) -> Explanation:
    return Explanation(
        id=facts.job_id,
        tenant=facts.tenant,
        status=status,
        waits_for=waits_for,
        sentences=[sentence for sentence in told if sentence],
    )


# -- what there is


def _reconciled(facts: Facts) -> str:
    if facts.reconciled:
        return ""
    return (
        "The keeper has not yet reconciled with this start of Redis: no job starts, and what is missing here may come "
        "back."
    )


def _without_record(facts: Facts) -> Iterator[str]:
    if facts.erased:
        yield f"The {facts.erased}."
    elif facts.bucket_away:
        yield f"Redis has no record of {facts.job_id}. What the bucket has of it cannot be read: {facts.bucket_away}."
    elif not facts.reconciled:
        yield f"Redis has no record of {facts.job_id} now. The bucket was not asked."
    else:
        yield (
            f"There is no job {facts.job_id}: Redis has no record of it, and the bucket has no job.json of the tenant "
            f"{facts.tenant}. One that another tenant had is found with its tenant named."
        )


def _archived(facts: Facts, job: Job) -> Iterator[str]:
    yield (
        f"{job.id} is a {job.kind} job of the tenant {facts.tenant} for {job.model}. Redis has no record of it: "
        "job.json in the bucket tells this."
    )
    if job.completed_at:
        yield f"It {_has_ended(job.status)} at {_at(job.completed_at.timestamp() * 1000)}" + (
            f" with {job.error.code}." if job.error else f" with {_count(len(job.outputs), 'output')}."
        )
    if job.retained_until:
        yield f"It is kept until {_at(job.retained_until.timestamp() * 1000)}."


def _record(facts: Facts) -> Iterator[str]:
    record, created = facts.record, facts.number("created_ms")
    line = record.get("line", "").partition("@")[0]
    what = f"a {line.partition('.')[2].replace(':', ' job for ')}" if ":" in line else "a job of an unknown kind"
    since = f", submitted {_span(facts.now_ms - created)} ago ({_at(created)})" if created is not None else ""
    yield (
        f"{facts.job_id} is {record.get('status') or 'in no status'}: {what} of the tenant "
        f"{facts.tenant or '(unknown)'}{since}."
    )
    if facts.damaged:
        yield (
            f"Its record is damaged: {'; '.join(facts.damaged)}. The first script that meets it sets the job aside, "
            "and fails it where that can be written."
        )


def _attempts(facts: Facts) -> Iterator[str]:
    names = ("starts", "releases", "budgeted", "max")
    starts, releases, budgeted, most = (int(facts.number(name) or 0) for name in names)
    if not starts:
        yield f"It was never started; it may be started {_count(most, 'time')}." if most else ""
        return
    counted = starts - releases - budgeted
    yield (
        f"It was started {_count(starts, 'time')}; {counted} of {most or 'an unknown number of'} starts "
        "count"
        + (f", {releases} handed back" if releases else "")
        + (f", {budgeted} counted by their cause alone." if budgeted else ".")
    )
    for one in facts.attempts()[-NAMED:]:
        if one["ended_ms"] is not None:
            code = f" with {one['code']}" if one["code"] else ""
            yield (
                f"Attempt {one['number']} on {one['worker']} ended as {one['outcome']}{code} after "
                f"{_span(one['ended_ms'] - one['started_ms'])}."
            )
    if facts.record.get("suspect"):
        yield "Its process died once: it runs next with nothing beside it in its process."


def _clocks(facts: Facts) -> Iterator[str]:
    start_by, deadline = facts.number("start_by_ms"), facts.number("deadline_ms")
    if start_by is not None and "started_ms" not in facts.record:
        yield _clock(facts, start_by, "It expires unless it starts", "queue_ttl_s")
    if deadline is not None:
        yield _clock(facts, deadline, "All of it must end", "deadline_s")


def _clock(facts: Facts, at_ms: float, what: str, clock: str) -> str:
    left = at_ms - facts.now_ms
    if left > 0:
        return f"{what} within {_span(left)} ({clock})."
    return f"Its {clock} was over {_span(-left)} ago: the keeper's next round ends it."


def _ended(facts: Facts) -> Iterator[str]:
    ended, until = facts.number("ended_ms"), facts.number("retained_ms")
    code = _code(facts.record.get("error"))
    if ended is not None:
        yield f"It {_has_ended(facts.record.get('status'))} {_span(facts.now_ms - ended)} ago ({_at(ended)})" + (
            f" with {code}." if code else "."
        )
    if facts.is_dead_letter:
        yield "It is a dead letter: it can be replayed."
    if "shrunk" in facts.record:
        yield "Its record has shrunk: job.json in the bucket tells what was large."
    if until is not None:
        yield f"Record and outputs are kept until {_at(until)}."


def _running(facts: Facts) -> Iterator[str]:
    record, since = facts.record, facts.number("phase_ms")
    phase = "batching" if record.get("batching") == "1" else record.get("phase", "an unknown phase")
    worker = record.get("worker", "(unknown)")
    yield f"Attempt {record.get('starts', '?')} runs on {worker}, in the slot {record.get('slot', '(unknown)')}." + (
        "" if facts.holds_slot else " That slot no longer names this attempt."
    )
    if since is not None:
        limit = facts.number("run_ms")
        within = f", of {_span(limit)} that run_timeout_s allows" if phase == "running" and limit else ""
        yield f"It has been {phase} for {_span(facts.now_ms - since)}{within}."
    if record.get("status") == Status.CANCELING:
        yield "It was asked to stop; it ends as canceled, or as succeeded where its commit is first."
    alive = next((one for one in facts.workers if one.id == worker), None)
    yield (
        f"The worker was last heard {_span(alive.seen_s * 1000)} ago{' and drains' if alive.draining else ''}."
        if (alive)
        else "The worker is not alive."
    )
    if facts.lease_ms is None:
        yield "It has no lease: no sweep would take it back."
    elif facts.lease_ms > facts.now_ms:
        yield f"Its lease lapses in {_span(facts.lease_ms - facts.now_ms)} unless the worker renews it."
    else:
        yield (
            f"Its lease lapsed {_span(facts.now_ms - facts.lease_ms)} ago: the next sweep takes the attempt back, "
            "after a gap of the keeper's or of Redis' one lease later."
        )


# -- where it waits


def _line(facts: Facts) -> Iterator[str]:
    line = facts.record.get("line", "(none)")
    if facts.rank is not None:
        yield f"It is number {facts.rank} of {facts.length} in the line {line}."
    elif facts.parked:
        yield f"It is parked: it stands in no line, so that nobody waits behind it; its line is {line}."
    else:
        yield f"It stands in no line now; its line is {line}, in which {_count(facts.length, 'job')} wait."


def _workers(facts: Facts) -> Iterator[str]:
    serving = _serving(facts)
    pool = facts.record.get("line", "").partition(".")[0] or "(unknown)"
    if not facts.workers:
        yield f"No worker of the pool {pool} is alive."
    elif not serving:
        alive = len(facts.workers)
        yield f"{_count(alive, 'worker')} of the pool {pool} {_is(alive)} alive; none serves this line."
    for one in serving[:NAMED]:
        of = f" of {one.slots}" if one.slots is not None else ""
        yield (
            f"The worker {one.id} serves this line: {one.busy}{of} slots are busy, heard {_span(one.seen_s * 1000)} "
            f"ago{', and it drains' if one.draining else ''}."
        )
    if len(serving) > NAMED:
        yield f"{len(serving) - NAMED} more workers serve this line."


def _bells(facts: Facts) -> Iterator[str]:
    queue = facts.record.get("line", "").partition(":")[0]
    if queue:
        yield f"{_count(facts.bells, 'bell')} {_is(facts.bells)} in the queue {queue}."


def _keeper(facts: Facts) -> Iterator[str]:
    if not facts.keepers.alive:
        yield "No keeper is alive: nothing is swept, retried, expired or started at its time."
    late = [duty.name for duty in facts.keepers.duties if duty.late]
    if facts.keepers.alive and late:
        yield f"The keeper is late with {', '.join(late)}."


def _waits(facts: Facts) -> tuple[WaitsFor | None, str]:
    """The first thing that keeps it from starting."""
    if not facts.reconciled:
        return "reconciliation", "It waits until a keeper has reconciled with this start of Redis."
    if facts.damaged:
        return "repair", "It waits for nothing that would come by itself: its record is damaged."
    return _for_a_time(facts) or _for_a_permission(facts) or _for_a_place(facts)


def _for_a_time(facts: Facts) -> tuple[WaitsFor, str] | None:
    if named := facts.record.get("waits"):
        return "jobs", f"It waits until these jobs have succeeded: {named.replace(' ', ', ')}."
    if facts.due_ms is None:
        return None
    scheduled = facts.record["status"] == Status.SCHEDULED
    name = "start time" if scheduled else "retry"
    left = facts.due_ms - facts.now_ms
    if left < -LATE_S * 1000:
        return "keeper", f"It waits for the keeper: its {name} was due {_span(-left)} ago."
    return (
        "start_at" if scheduled else "retry_at",
        f"It waits for its {name}, in {_span(max(0, left))} ({_at(facts.due_ms)}).",
    )


def _for_a_permission(facts: Facts) -> tuple[WaitsFor, str] | None:
    for scope, reason in facts.pauses.items():
        return "pause", f"It waits, as {scope} is paused{f': {reason}' if reason else ''}."
    if facts.orphan_ms is not None:
        known = "" if facts.is_model_known else "; this API's models.toml has none of that name"
        return "known_model", (
            f"It waits for a worker that knows its model: nobody does, since "
            f"{_span(facts.now_ms - facts.orphan_ms)}{known}. It fails with unknown_model if none "
            "comes."
        )
    if facts.parked:
        most = f"{facts.running} of {facts.most_running} that it may" if facts.most_running else "as many as it may"
        return "tenant_limit", f"It waits until its tenant runs fewer jobs: now {most}."
    if "follows" in facts.record:
        return "same_work", "It waits for another job of its tenant that does the same work, and ends with that one."
    if facts.rank is None:
        return "repair", (
            "It is in no line, no list of times and not parked, which should not be for longer than a "
            "moment: ask again."
        )
    return None


def _for_a_place(facts: Facts) -> tuple[WaitsFor, str]:
    serving = [one for one in _serving(facts) if not one.draining]
    free = [one for one in serving if one.slots is None or one.busy < one.slots]
    if not serving:
        return "worker", "It waits for a worker that serves its line: none is alive that takes new jobs."
    if not free:
        slots = sum(one.slots or 0 for one in serving)
        return "slot", f"It waits for a slot: all {slots} of the workers that serve its line are busy."
    alone = facts.record.get("suspect") or (facts.alone_until_ms or 0) > facts.now_ms
    if alone and all(one.busy for one in free):
        return "lone_process", "It waits for a process with nothing beside it: one that is busy does not get it."
    if facts.rank and facts.rank > 1:
        return "turn", f"It waits for its turn: {_count(facts.rank - 1, 'job')} of its line go first."
    if not facts.bells and not facts.keepers.alive:
        return "bell", "It waits for a bell: a slot is free, none lies in its queue, and no keeper is alive to ring."
    return "turn", (
        "It waits for its turn among the lines that these workers serve: a slot is free, so it should "
        "start within seconds."
    )


def _serving(facts: Facts) -> list[Server]:
    return [one for one in facts.workers if one.serves]


# -- words


def _has_ended(status: str | None) -> str:
    return {"canceled": "was canceled"}.get(status or "", status or "ended")


def _code(error: str | None) -> str:
    """The code of an error's JSON; its words may hold what a caller wrote."""
    try:
        return str(json.loads(error or "{}").get("code") or "")
    except (ValueError, AttributeError):
        return "an error that cannot be read"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _at(ms: float) -> str:
    return f"{moment(ms):%Y-%m-%dT%H:%M:%SZ}"


def _span(ms: float) -> str:
    """A time that has passed or is left, in the two largest units."""
    seconds = max(0.0, ms) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    if seconds < 86_400:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds // 86_400:.0f} d {seconds % 86_400 // 3600:.0f} h"
