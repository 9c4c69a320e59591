"""One job, from claim to commit: the file to show a visitor.

    claim -> fetch the inputs -> load the model -> run it -> upload the outputs -> commit

An attempt is left by commit, fail or release, and by nothing else. Both pools run this same file; what
differs (a process or a thread a slot) is app's, and what ends a process from outside is the parent's.
"""

import contextlib
import json
import logging
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, JsonValue

from tasks import errors, inputs, registry
from tasks.algorithm import Call, Result
from tasks.apart import BUCKETS
from tasks.bucket import fetch
from tasks.bucket.layout import attempt_prefix, media_type_of
from tasks.bucket.storage import Storage
from tasks.bucket.weights import Weights
from tasks.job import Fixed
from tasks.ledger import Claimed, Ledger, Worker, connect, keys
from tasks.settings import Settings
from worker import outputs
from worker.artefacts import Artefacts
from worker.attempt import ENDING, Attempt, HandedBack
from worker.batcher import as_job_error
from worker.board import Board
from worker.checkpoints import Checkpoints
from worker.loaded import Loaded
from worker.patience import FETCH_S, UPLOAD_S, patiently

T = TypeVar("T")
log = logging.getLogger(__name__)
TELL_EVERY_S = 0.2
RESULT_MAX_BYTES = 32 * 1024
ASK_AGAIN_S, FAULTS = 0.5, 3
"""Between two asks of a ledger that is away or broken; and how often a broken one is asked."""


@dataclass
class Slot:
    """A place where one job runs at a time, with two folders of its own, empty between jobs, and a board on which it
    says what it does."""

    name: str
    folder: Path
    rooms: int = 0
    claims: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.board = Board(self.folder)
        self._move()

    def next_token(self) -> str:
        """Random, and ascending within the slot, so that a claim that arrives late cannot undo a newer one."""
        self.claims += 1
        return f"{self.claims:08x}{random.SystemRandom().getrandbits(96):024x}"

    def tidy(self, was_stopped: bool) -> None:
        """Never raises. Into what a job had that was stopped, something that it left behind may still write: the slot
        moves to new folders then, and where it cannot empty the old ones."""
        try:
            if not was_stopped:
                self._empty()
                return
        except OSError as error:
            log.warning("the folders of a job could not be emptied: %s", error)
        shutil.rmtree(self.inputs.parent, ignore_errors=True)
        try:
            self._move()
        except OSError:  # the next job says why it cannot write
            log.exception("no new folders for a slot")

    def _empty(self) -> None:
        for left in (*os.scandir(self.inputs), *os.scandir(self.outputs)):
            if left.is_dir(follow_symlinks=False):
                shutil.rmtree(left.path)
            else:
                os.unlink(left.path)

    def _move(self) -> None:
        self.rooms += 1
        room = self.folder / str(self.rooms)
        self.inputs, self.outputs = room / "inputs", room / "outputs"
        self.inputs.mkdir(parents=True)
        self.outputs.mkdir()


class Runner:
    """All that the slots of one process share. Their folders lie in `scratch`, which the parent removes."""

    def __init__(self, settings: Settings, worker: Worker, scratch: Path, models: registry.Registry) -> None:
        self.settings, self.worker, self.scratch, self.models = settings, worker, scratch, models
        # a lingering slot reads for linger_s, so its client must wait a second longer
        self.ledger = Ledger(settings, read_timeout_s=max(2.0, settings.linger_s + 1))
        self.storage = Storage(settings)
        weights = Weights(settings.cache_dir, self.storage)
        self.loaded = Loaded(settings.models_mb, worker.shared, weights.locate)
        self.artefacts = Artefacts(self.storage, connect(settings))
        self.checkpoints = Checkpoints(self.storage, self.ledger)
        self.attempts: dict[str, Attempt] = {}
        self._slots: dict[str, Slot] = {}
        threading.Thread(target=self._tell_people, name="progress", daemon=True).start()

    def ask(self, token: str, why: str) -> None:
        """The parent asks an attempt to stop; one that is over is none the wiser."""
        attempt = self.attempts.get(token)
        if attempt:
            attempt.ask(why)

    def serve(self, name: str) -> None:
        """Run jobs until there are none; then linger, to be woken by the next submit, for a moment."""
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = Slot(name, self.scratch / str(threading.get_native_id()))
        claimed = None
        while claimed := claimed or self._next(slot):
            attempt = self.attempts[claimed.token] = Attempt(claimed, board=slot.board)
            try:
                claimed = self._run(attempt, slot)
            finally:
                del self.attempts[attempt.claimed.token]
                self.checkpoints.forget(attempt)

    def _tell_people(self) -> None:
        """Phases and progress reach the ledger in rounds; see attempt.py."""
        while True:
            time.sleep(TELL_EVERY_S)
            for attempt in list(self.attempts.values()):
                try:
                    attempt.tell(self.ledger)
                except Exception:  # one attempt's defect is not that of the others, nor of the next round
                    log.exception("%s: people were not told", attempt.fixed.id)

    def _next(self, slot: Slot) -> Claimed | None:
        token = slot.next_token()
        claimed = self.ledger.claim(self.worker, slot.name, token, linger_s=self.settings.linger_s)
        if claimed or not self.settings.linger_s:
            return claimed
        self.ledger.redis.blpop([keys.wake(slot.name)], timeout=self.settings.linger_s)
        return self.ledger.claim(self.worker, slot.name, token)

    def _run(self, attempt: Attempt, slot: Slot) -> Claimed | None:
        """Claim to end. A commit brings the slot's next job along, if there is one."""
        fixed, token, start, following = attempt.fixed, attempt.claimed.token, time.monotonic(), None
        log.debug("%s %s/%s attempt %d starts", fixed.id, fixed.kind, fixed.model, attempt.claimed.number)
        try:
            result, stored = self._work(attempt, slot)
            next_token = slot.next_token()
            ended, following = insist(
                lambda: self.ledger.commit_and_claim(
                    fixed.id,
                    token,
                    result,
                    stored,
                    attempt.metrics,
                    attempt.claimed.number,
                    self.worker,
                    slot.name,
                    next_token,
                )
            )
        except Exception as raised:  # every end of an attempt is an end of the job's record, never of the slot
            ended = self._fail(attempt, as_job_error(raised))
        finally:
            slot.tidy(attempt.stopped())
        log.info(
            "%s %s/%s attempt %d %s after %.3f s",
            fixed.id,
            fixed.kind,
            fixed.model,
            attempt.claimed.number,
            ended,
            time.monotonic() - start,
        )
        return following

    def _work(self, attempt: Attempt, slot: Slot) -> tuple[dict, list[dict]]:
        fixed = attempt.fixed
        model = attempt.model = self.models.model(fixed.kind, fixed.model)
        attempt.enter("fetching")
        fetched = self._fetch(attempt, slot.inputs)
        attempt.enter("batching")
        with self.loaded.use(model, attempt.check, partial(attempt.begin, "loading")) as batcher:
            attempt.enter("batching")
            params = registry.contract(fixed.kind).params.model_validate(fixed.params)
            artefact = self.artefacts.of(fixed, slot.inputs, attempt.stopped)
            call = Call(
                fetched, params, slot.outputs, attempt.report, attempt.stopped, artefact, *self.checkpoints.of(attempt)
            )
            turn = batcher.enter(call, partial(attempt.begin, "running"))
            with attempt.hearing(partial(batcher.leave, turn)):
                result = batcher.result(turn)
        attempt.enter("uploading")
        uploaded = self._upload(attempt, _checked(fixed, result), slot.inputs)
        attempt.enter(ENDING)
        return uploaded

    def _fetch(self, attempt: Attempt, folder: Path) -> dict:
        """The inputs as a Call has them: files as paths, texts as texts, JSON as it is."""
        fixed = attempt.fixed
        of_kind = registry.contract(fixed.kind).inputs
        fetched = dict.fromkeys(of_kind.model_fields)
        for name, value in fixed.input.items():
            if not _lies_elsewhere(fixed, of_kind, name):
                fetched[name] = value
                continue
            source, target = value["url"] if isinstance(value, dict) else value, folder / name
            limits = inputs.limits_of(of_kind, name)
            most = limits.max_bytes if limits else fixed.uploads[source.removeprefix("upload:")].bytes
            one = partial(
                fetch.fetch,
                source,
                target,
                tenant=fixed.tenant,
                max_bytes=most,
                settings=self.settings,
                storage=self.storage,
                uploads=fixed.uploads,
                canceled=attempt.stopped,
                within_s=attempt.model.fetch_timeout_s,
            )
            patiently(attempt, f"give the input {name}", FETCH_S, self.ledger, one)
            fetched[name] = target if inputs.is_file(of_kind, name) else _read(target, of_kind, name)
        return fetched

    def _upload(self, attempt: Attempt, result: Result, folder: Path) -> tuple[dict, list[dict]]:
        """Outputs under the attempt's own prefix; a result too large for the record is one of them."""
        fixed, value, files = attempt.fixed, result.value, list(result.files)
        if len(json.dumps(value)) > RESULT_MAX_BYTES:
            large = folder / outputs.free_name("result.json", files)
            large.write_text(json.dumps(value))
            files.append(large)
            value = {"output": large.name}
        prefix = attempt_prefix(fixed.tenant, fixed.id, attempt.claimed.number, attempt.claimed.token)
        stored = []
        for path in files:
            media_type = media_type_of(path.name)
            put = partial(self.storage.put_file, prefix + path.name, path, media_type)
            size, sha256 = patiently(
                attempt, "take the outputs", UPLOAD_S, self.ledger, partial(BUCKETS.call, put, attempt.check)
            )
            stored.append(
                {
                    "name": path.name,
                    "media_type": media_type,
                    "bytes": size,
                    "sha256": sha256,
                    "key": prefix + path.name,
                }
            )
        return value, stored

    def _fail(self, attempt: Attempt, error: errors.BacklotError) -> str:
        if attempt.stop and not isinstance(error, errors.LeaseLost):
            error = attempt.error()  # whatever came up while it was being stopped
        attempt.begin(ENDING)
        log.info("%s %s: %s", attempt.fixed.id, error.code, error.detail)
        delay = backoff_s(attempt.claimed.number, self.settings) if error.retryable else 0
        try:
            if isinstance(error, HandedBack):
                return insist(lambda: self.ledger.release(attempt.fixed.id, attempt.claimed.token, cause=error.cause))
            return insist(
                lambda: self.ledger.fail(
                    attempt.fixed.id, attempt.claimed.token, error, delay, attempt.metrics, attempt.claimed.number
                )
            )
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


def backoff_s(number: int, settings: Settings) -> float:
    """Full jitter: anything between nothing and the first delay, doubled with each attempt up to the longest."""
    return random.uniform(0, min(settings.max_retry_s, settings.retry_s * 2 ** (number - 1)))


def insist(verb: Callable[[], T]) -> T:
    """Ask until Redis answers: what was computed is not thrown away because Redis is away for a while. Errors:
    LedgerFault, where the script has failed a few times."""
    faults = 0
    while True:
        try:
            return verb()
        except errors.NotReady:
            pass
        except errors.LedgerFault:
            faults += 1
            if faults >= FAULTS:
                raise
        threading.Event().wait(ASK_AGAIN_S)


def _checked(fixed: Fixed, result: Result) -> Result:
    """The result if it fits its kind's contract, and can be shown; a model that answers otherwise has failed."""
    try:
        value = registry.contract(fixed.kind).result.model_validate(result.value).model_dump(mode="json")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise errors.ModelFailed("the model's result has a lone surrogate in it, which no text may have") from error
    except ValueError as error:
        raise errors.ModelFailed(f"the model's result does not fit the kind: {error}"[:500]) from error
    return Result(value, outputs.checked(result.files))


def _lies_elsewhere(fixed: Fixed, of_kind: type[BaseModel], name: str) -> bool:
    """Whether the record has a source in place of the input's value."""
    if inputs.is_text(of_kind, name):
        return not isinstance(fixed.input[name], str)
    return name in fixed.in_bucket or inputs.is_file(of_kind, name)


def _read(path: Path, of_kind: type[BaseModel], name: str) -> JsonValue:
    """A fetched text, or JSON value. As bytes: a file opened as text gives LF for CRLF."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise errors.InvalidInput(f"{name} is not UTF-8 text: byte {error.start}") from error
    return text if inputs.is_text(of_kind, name) else json.loads(text)
