"""Runs one job, from claim to commit: the file to show a visitor.

    claim -> fetch the inputs -> load the model -> run it -> upload the outputs -> commit

An attempt is left by commit, fail or release, and by nothing else; `cite` commits or releases one whose work another
has done or does. Both pools run this same file. The difference
between them (a process or a thread a slot) is app's; ending a process from outside is the parent's.
"""

import contextlib
import logging
import random
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tasks import errors, registry
from tasks.algorithm import Call, Result
from tasks.bucket.direct import DirectStorage
from tasks.bucket.weights import Weights
from tasks.job import Fixed
from tasks.ledger import Claimed, Commit, Granted, Ledger, Wish, Worker, connect, keys
from tasks.registry import Model
from tasks.settings import Settings
from worker import amounts
from worker.arrivals import Arrivals
from worker.artefacts import Artefacts, Make
from worker.attempt import ENDING, REPORTS_A_TRIP, Attempt, HandedBack, tell
from worker.attempt_logs import Logs
from worker.batcher import as_job_error
from worker.checkpoints import Checkpoints
from worker.fetching import Inputs
from worker.insist import insist
from worker.loaded import Loaded
from worker.same_work import SameWork, Settled
from worker.slot import Slot
from worker.together import Together
from worker.uploading import Outputs, Uploaded

log = logging.getLogger(__name__)
WISHES_A_TRIP = 16
"""Slots that commit and claim in one trip: Redis serves nobody else for some 3 ms meanwhile."""
TELL_EVERY_S = 0.2
"""Seconds between two reports of progress to the ledger."""


class Runner:
    """Everything that the `slots` of one process share. Their folders lie in `scratch`, which the parent removes."""

    def __init__(
        self, settings: Settings, worker: Worker, scratch: Path, models: registry.Registry, slots: int = 1
    ) -> None:
        self.settings, self.worker, self.scratch, self.models, self.slots = settings, worker, scratch, models, slots
        # a lingering slot reads for linger_s, so its client must wait a second longer
        self.ledger = Ledger(settings, read_timeout_s=max(2.0, settings.linger_s + 1))
        self.wishes = Together(partial(self.ledger.claim_many, worker), WISHES_A_TRIP)
        self.storage = DirectStorage(settings)
        weights = Weights(settings.cache_dir, self.storage)
        self.arrivals = Arrivals()
        self.loaded = Loaded(settings.models_mb, worker.shared, weights.locate, self.arrivals)
        self.artefacts = Artefacts(self.storage, connect(settings))
        self.checkpoints = Checkpoints(self.storage, self.ledger)
        self.inputs = Inputs(settings, self.storage, self.ledger)
        self.same_work = SameWork(self.ledger, weights.locate)
        self.outputs = Outputs(self.storage, self.ledger)
        self.logs = Logs(settings, self.storage, worker.shared)
        self.attempts: dict[str, Attempt] = {}
        self._slots: dict[str, Slot] = {}
        threading.Thread(target=self._report_progress, name="progress", daemon=True).start()

    def ask(self, token: str, why: str) -> None:
        """Ask an attempt to stop, for the parent. An attempt that is over is ignored."""
        attempt = self.attempts.get(token)
        if attempt:
            attempt.ask(why)

    def serve(self, name: str) -> None:
        """Run jobs until there are none. An idle slot lingers for a moment, to be woken by the next submit."""
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = Slot(name, self.scratch / str(threading.get_native_id()))
        claimed = None
        while claimed := claimed or self._claim(slot):
            attempt = self.attempts[claimed.token] = Attempt(claimed, board=slot.board)
            try:
                claimed = self._run(attempt, slot)
            finally:
                self.arrivals.came(slot.name)
                del self.attempts[attempt.claimed.token]
                self.checkpoints.forget(attempt)

    # -- the steps of a job, in order

    def _claim(self, slot: Slot) -> Claimed | None:
        token = slot.next_token()
        claimed = self._ask(Wish(slot.name, token, self.settings.linger_s)).claimed
        if claimed is None and self.settings.linger_s:
            self.ledger.redis.blpop([keys.wake(slot.name)], timeout=self.settings.linger_s)
            claimed = self._ask(Wish(slot.name, token, lingered=True)).claimed
        if claimed and self.slots > 1:
            self._expect_more(claimed.fixed)
        return claimed

    def _expect_more(self, fixed: Fixed) -> None:
        """Let a batch of this job's model wait for the free slots that are being woken, where more of its jobs wait."""
        with contextlib.suppress(errors.UnknownModel, errors.NotReady):
            model = self.models.model(fixed.kind, fixed.model)
            if model.batch == 1:
                return
            free = len(self.attempts) + 1 < self.slots
            if free and self.ledger.waits(replace(self.worker, lines=[fixed.line])):
                self.arrivals.expect(f"more of {model.key}", model.key)
            else:
                self.arrivals.came(f"more of {model.key}")

    def _ask(self, wish: Wish) -> Granted:
        """Commit and claim, in one trip with other slots that ask now. A batch may wait a little for what comes."""
        if self.slots == 1:
            (granted,) = self.ledger.claim_many(self.worker, [wish])
        else:
            self.arrivals.expect(wish.slot)
            granted = self.wishes.ask(wish)
        if isinstance(granted, errors.LedgerFault):
            raise granted
        if granted.claimed is None:
            self.arrivals.came(wish.slot)
        return granted

    def _run(self, attempt: Attempt, slot: Slot) -> Claimed | None:
        """Bring a claimed job to its end. Returns the slot's next job, where the commit has brought one."""
        start, following, named = time.monotonic(), None, _named(attempt)
        log.debug("%s starts", named)
        try:
            with self.logs.of(attempt, slot.log):
                uploaded = self._work(attempt, slot)
            ended, following = self._commit(attempt, uploaded, slot)
        except Settled as settled:
            ended = settled.end
        except Exception as raised:  # every end of an attempt is an end of the job's record, never of the slot
            ended = self._fail(attempt, as_job_error(raised))
        finally:
            slot.tidy(attempt.stopped())
        log.info("%s %s after %.3f s", named, ended, time.monotonic() - start)
        return following

    def _work(self, attempt: Attempt, slot: Slot) -> Uploaded:
        model = attempt.model = self.models.model(attempt.fixed.kind, attempt.fixed.model)
        self.arrivals.expect(slot.name, model.key)
        elsewhere = self.inputs.elsewhere(attempt.fixed)
        attempt.enter("fetching", passes=not elsewhere)
        fetched = self.inputs.fetch(attempt, model, elsewhere, slot)
        if elsewhere:  # else nobody asks the slot for its folder of inputs, which then need not be emptied
            attempt.metrics |= amounts.of_inputs(slot.inputs, elsewhere)
        if attempt.fixed.cache is not None:
            self.same_work.judge(attempt, model, fetched)
        result = self._compute(attempt, model, fetched, slot)
        uploaded = self.outputs.upload(attempt, result, slot)
        attempt.metrics |= amounts.of_result(attempt.fixed, result.value)
        attempt.enter(ENDING)
        return uploaded

    def _compute(self, attempt: Attempt, model: Model, fetched: dict[str, Any], slot: Slot) -> Result:
        """Load the model, join its line, and wait for the result of the job's call."""
        alone = self.slots == 1  # nobody else computes here, though a model may be preloaded
        attempt.enter("batching", passes=alone)
        waits, loads = partial(attempt.enter, "batching"), partial(attempt.begin, "loading")
        with self.loaded.use(model, waits, loads) as batcher:
            attempt.enter("batching", passes=alone)
            turn = batcher.enter(self._call(attempt, fetched, slot), partial(attempt.begin, "running"))
            self.arrivals.came(slot.name)
            with attempt.hearing(partial(batcher.leave, turn)):
                return batcher.result(turn)

    def _call(self, attempt: Attempt, fetched: dict[str, Any], slot: Slot) -> Call:
        fixed = attempt.fixed
        params = registry.contract(fixed.kind).params.model_validate(fixed.params)
        artefact = partial(self._artefact, attempt, slot)
        save, saved = self.checkpoints.of(attempt)
        return Call(
            fetched,
            params,
            slot.outputs,
            attempt.report,
            attempt.stopped,
            artefact,
            save,
            saved,
            so_far=attempt.so_far,
            log=attempt.log,
        )

    def _artefact(self, attempt: Attempt, slot: Slot, name: str, make: Make) -> Path:
        return self.artefacts.of(attempt.fixed, slot.inputs, attempt.stopped)(name, make)

    def _commit(self, attempt: Attempt, uploaded: Uploaded, slot: Slot) -> tuple[str, Claimed | None]:
        """Returns the job's end, and the slot's next job."""
        result, stored = uploaded
        claimed, message = attempt.claimed, attempt.last_message
        commit = Commit(attempt.fixed.id, claimed.token, result, stored, attempt.metrics, claimed.number, message)
        wish = Wish(slot.name, slot.next_token(), commit=commit)
        granted = insist(lambda: self._ask(wish))
        return granted.committed, granted.claimed

    # -- ends that are no commit

    def _fail(self, attempt: Attempt, error: errors.BacklotError) -> str:
        """Fail or release the job. Where the ledger cannot write either, the sweep ends the attempt."""
        if attempt.stop and not isinstance(error, errors.LeaseLost):
            error = attempt.error()  # whatever came up while it was being stopped
        attempt.begin(ENDING)
        log.info("%s %s: %s", attempt.fixed.id, error.code, error.detail)
        try:
            return self._write_end(attempt, error)
        except errors.LedgerFault as fault:
            log.error(
                "%s attempt %d is left to the sweep, for its end (%s) cannot be written: %s",
                attempt.fixed.id,
                attempt.claimed.number,
                error.code,
                fault.detail,
            )
        with contextlib.suppress(errors.LedgerFault):
            insist(lambda: self.ledger.forget_slot(self.worker, attempt.claimed.record["slot"]))
        return "is left to the sweep"

    def _write_end(self, attempt: Attempt, error: errors.BacklotError) -> str:
        job_id, claimed = attempt.fixed.id, attempt.claimed
        if isinstance(error, HandedBack):
            cause = error.cause
            return insist(lambda: self.ledger.release(job_id, claimed.token, cause=cause))
        is_retried = error.retryable or error.code in claimed.fixed.retry
        delay_s = backoff_s(claimed.number, self.settings) if is_retried else 0
        return insist(lambda: self.ledger.fail(job_id, claimed.token, error, delay_s, attempt.metrics, claimed.number))

    # -- progress

    def _report_progress(self) -> None:
        """Report phases and progress of all attempts in rounds; see attempt.py."""
        while True:
            time.sleep(TELL_EVERY_S)
            attempts = list(self.attempts.values())
            for first in range(0, len(attempts), REPORTS_A_TRIP):
                try:
                    tell(attempts[first : first + REPORTS_A_TRIP], self.ledger)
                except Exception:  # a defect of one round is not that of the next
                    log.exception("people were not told of %d attempts", len(attempts))


def backoff_s(number: int, settings: Settings) -> float:
    """Seconds until the retry after attempt `number`: full jitter below a delay that doubles up to the longest."""
    return random.uniform(0, min(settings.max_retry_s, settings.retry_s * 2 ** (number - 1)))


def _named(attempt: Attempt) -> str:
    """The attempt, for the log."""
    return f"{attempt.fixed.id} {attempt.fixed.kind}/{attempt.fixed.model} attempt {attempt.claimed.number}"
