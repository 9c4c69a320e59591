"""The verbs of workers: claim, renew, report, and those that end an attempt. One part of `Ledger` (verbs.py).

It decides nothing: the attempt's token decides, inside the scripts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from tasks import errors
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.client import Word
from tasks.ledger.connection import BYTES_A_TRIP, CALLS_A_TRIP, Call, Connection, Reply, milliseconds
from tasks.ledger.shapes import ASK_AGAIN, Cause, Claimed, Commit, Granted, Held, Record, Wish, Worker

Json = Mapping[str, Any]
NOTED = {0: "lost", 1: "noted", 2: "canceling"}
"""Answers of `report`, as its script gives them."""


class Attempts(Connection):
    """Verbs that a worker calls with the token of its attempt."""

    def claim(
        self, worker: Worker, slot: str, token: str, linger_s: float = 0, lingered: bool = True
    ) -> Claimed | None:
        """Starts an attempt of the next job in this worker's lines; None where no job waits.

        Tokens of one slot must ascend. `linger_s`: where no job waits, a submit wakes the slot for this long, by a word
        in the list keys.wake(slot). `lingered`: False where the slot's last claim was not one that may linger.
        """
        call = self._claim_of(worker, slot, token, linger_s, lingered)
        while (answer := self._run(*call, list))[0] == ASK_AGAIN:
            pass
        return _claimed(token, answer)

    def _claim_of(self, worker: Worker, slot: str, token: str, linger_s: float, lingered: bool) -> Call:
        named = [
            keys.slots(worker.id),
            keys.worker(worker.id),
            keys.leases(worker.pool),
            *map(keys.line, worker.lines),
            *map(keys.idle, worker.queues),
        ]
        asked: list[Word] = [
            worker.id,
            slot,
            token,
            milliseconds(self.settings.lease_s),
            milliseconds(linger_s),
            len(worker.lines),
            self.settings.max_running_jobs,
            int(worker.shared),
            worker.v,
            int(lingered),
            *(worker.most or [0] * len(worker.lines)),
        ]
        return "claim", named, asked

    def commit_and_claim(
        self,
        job_id: str,
        token: str,
        result: Json,
        outputs: Sequence[Json],
        metrics: Json,
        number: int,
        worker: Worker,
        slot: str,
        next_token: str,
        message: str | None = None,
    ) -> tuple[str, Claimed | None]:
        """Commits, then claims for the same slot, in one trip. Errors of the commit alone leave the slot as it was."""
        commit = Commit(job_id, token, result, outputs, metrics, number, message)
        (granted,) = self.claim_many(worker, [Wish(slot, next_token, commit=commit)])
        if isinstance(granted, errors.LedgerFault):
            raise granted
        return granted.committed, granted.claimed

    def claim_many(self, worker: Worker, wishes: Sequence[Wish]) -> list[Granted | errors.LedgerFault]:
        """Commits and claims for several slots of one worker, in order, as many a trip as one may have; each slot once.

        Each claim is fair by itself, as if it had come alone. A wish that fails, fails alone; where its commit fails,
        the slot stays as it was. Errors of the whole: NotReady; all may be asked again then, and what was done is
        answered as it was.
        """
        granted: list[Granted | errors.LedgerFault] = []
        while len(granted) < len(wishes):
            granted += self._granted(worker, wishes[len(granted) :])
        return granted

    def _granted(self, worker: Worker, wishes: Sequence[Wish]) -> list[Granted | errors.LedgerFault]:
        """The answers of one trip: of the first wishes, up to one that failed, at least of one."""
        calls, ends = self._trip(worker, wishes)
        replies = self._replies(calls)
        granted: list[Granted | errors.LedgerFault] = []
        for wish, (first, last) in zip(wishes, ends, strict=False):
            if first >= len(replies):  # behind one that failed
                break
            try:
                granted.append(self._one(worker, wish, replies[first:last]))
            except errors.LedgerFault as fault:
                granted.append(fault)
        return granted

    def _trip(self, worker: Worker, wishes: Sequence[Wish]) -> tuple[list[Call], list[tuple[int, int]]]:
        """The calls of as many wishes as fit a trip, and where the calls of each begin and end."""
        calls: list[Call] = []
        ends: list[tuple[int, int]] = []
        size = 0
        for wish in wishes:
            more = [self._claim_of(worker, wish.slot, wish.token, wish.linger_s, wish.lingered)]
            if wish.commit:
                more.insert(0, _commit_of(wish.commit))
            if len(wishes) > 1:
                size += sum(len(word) for _, named, words in more for word in (*named, *words) if isinstance(word, str))
            if calls and (len(calls) + len(more) > CALLS_A_TRIP or size > BYTES_A_TRIP):
                break
            ends.append((len(calls), len(calls) + len(more)))
            calls += more
        return calls, ends

    def _one(self, worker: Worker, wish: Wish, replies: Sequence[Reply]) -> Granted:
        committed = self._answer("commit", replies[0], str) if wish.commit else ""
        answer = self._answer("claim", replies[-1], list)
        if answer[0] == ASK_AGAIN:
            return Granted(committed, self.claim(worker, wish.slot, wish.token, wish.linger_s))
        return Granted(committed, _claimed(wish.token, answer))

    def renew(self, worker: Worker, draining: bool = False, about: Record | None = None) -> tuple[float, list[Held]]:
        """Extends all leases of the worker; Redis' time in ms, and its slots. `about` is shown in /v1/pools."""
        told = {
            "pool": worker.pool,
            "queues": ",".join(worker.queues),
            "lines": ",".join(worker.lines),
            **(about or {}),
        }
        now, *rows = self._run(
            "renew",
            [keys.slots(worker.id), keys.worker(worker.id), keys.leases(worker.pool), keys.WORKERS],
            [
                worker.id,
                milliseconds(self.settings.lease_s),
                int(draining),
                *(part for pair in told.items() for part in pair),
            ],
            list,
        )
        return float(now), [_held(row) for row in rows]

    def forget_slot(self, worker: Worker, slot: str) -> None:
        """Removes a slot whose process is gone and whose attempts have all ended."""
        self.write(("HDEL", keys.slots(worker.id), slot))

    def report(
        self,
        job_id: str,
        token: str,
        phase: str = "",
        progress: float | None = None,
        message: str | None = None,
        checkpoint: str = "",
        text: str = "",
        text_at: int = 0,
        log: str = "",
        log_at: int = 0,
    ) -> str:
        """Records progress for people, and the bucket key of the newest checkpoint; 'noted', 'canceling' or 'lost'.

        `progress` 0-1. An empty `message` removes the last one; None leaves it. `text` goes on behind the first
        `text_at` bytes of the attempt's text so far, which has TEXT_MAX_BYTES at most; what does not fit is left out.
        Likewise `log` behind the first `log_at` bytes of its log so far.
        """
        told = _report_of(job_id, token, phase, progress, message, checkpoint, text, text_at, log, log_at)
        return NOTED[self._run(*told, int)]

    def report_all(self, reports: Sequence[Json]) -> list[str]:
        """Reports of several attempts in one trip, CALLS_A_TRIP at most: each with the arguments of `report`.

        The answer of each, or 'fault' where its script failed, which ends no other report.
        """
        calls = [_report_of(**report) for report in reports]
        replies = self._replies(calls, independent=True)
        return ["fault" if reply[0] else NOTED[self._answer("report", reply, int)] for reply in replies]

    def commit(
        self,
        job_id: str,
        token: str,
        result: Json,
        outputs: Sequence[Json],
        metrics: Json,
        number: int = 0,
        message: str | None = None,
    ) -> str:
        """Ends the attempt and its job: 'succeeded', or how this token's attempt had ended before.

        `number`: the attempt's own; where the attempt is lost, its uploads go to the trash. `message`: the last one,
        as in `report`.
        """
        return self._run(*_commit_of(Commit(job_id, token, result, outputs, metrics, number, message)), str)

    def fail(
        self,
        job_id: str,
        token: str,
        error: errors.BacklotError,
        delay_s: float = 0,
        metrics: Json | None = None,
        number: int = 0,
        killed: bool = False,
    ) -> str:
        """Ends the attempt: 'queued' for a retry after the delay, 'failed', 'canceled', or as `commit` says.

        `killed`: the process was ended because of this attempt; its tenant is charged with one process.
        """
        return self._run(
            "fail",
            [keys.job(job_id)],
            [
                job_id,
                token,
                _json(error.as_dict()),
                int(error.retryable),
                milliseconds(delay_s),
                _json(metrics) if metrics else "",
                number,
                int(killed),
            ],
            str,
        )

    def release(self, job_id: str, token: str, cause: Cause = "own") -> str:
        """Puts the job back into its line: 'released', 'canceled' where it was canceling, or how this token's attempt
        had ended before.

        The eleventh release for the job's own cause is 'queued' or 'failed', as a lost worker. Drains and neighbours'
        faults never count.
        """
        return self._run("release", [keys.job(job_id)], [job_id, token, cause], str)


def _report_of(
    job_id: str,
    token: str,
    phase: str = "",
    progress: float | None = None,
    message: str | None = None,
    checkpoint: str = "",
    text: str = "",
    text_at: int = 0,
    log: str = "",
    log_at: int = 0,
) -> Call:
    told: list[Word] = [phase, "" if progress is None else f"{progress:.4f}", _told(message), checkpoint, text, text_at]
    if log:
        told += [log, log_at]
    return "report", [keys.job(job_id)], [job_id, token, *told]


def _commit_of(end: Commit) -> Call:
    size = sum(output["bytes"] for output in end.outputs)
    told = [_json(end.result), _json(list(end.outputs)), _json(end.metrics), size, end.number]
    return "commit", [keys.job(end.job_id)], [end.job_id, end.token, *told, _told(end.message)]


def _json(value: object) -> str:
    return to_json(value, inf_nan_mode="constants").decode()


def _told(message: str | None) -> str:
    """The argument `message` of a script: an empty one removes the last, None leaves it."""
    return "" if message is None else f"={message}"


def _claimed(token: str, answer: list[Any]) -> Claimed | None:
    if answer[0] == 0:
        return None
    record = dict(zip(answer[2::2], answer[3::2], strict=True))
    return Claimed(Fixed.model_validate_json(record["fixed"]), token, int(record["starts"]), record)


def _held(row: list[str]) -> Held:
    slot, token, job_id, state, *rest = row
    if not rest:
        return Held(slot, token, job_id, state)
    phase, phase_ms, run_ms, deadline_ms, line = rest
    until_ms = float(deadline_ms) if deadline_ms else None
    return Held(slot, token, job_id, state, phase, float(phase_ms), float(run_ms), until_ms, line)
