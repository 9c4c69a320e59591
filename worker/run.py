"""One job, from claim to commit: the file to show a visitor.

    claim -> fetch the inputs -> load the model -> run it -> upload the outputs -> commit

An attempt is left by commit, fail or release, and by nothing else. Both pools run this same file; what
differs (a process or a thread a slot) is app's, and what ends a process from outside is the parent's.
"""

import contextlib
import json
import logging
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks import errors, fetch, inputs, registry
from tasks.algorithm import Call, Result
from tasks.job import Fixed
from tasks.ledger import Claimed, Ledger, Worker, keys
from tasks.settings import Settings
from tasks.storage import Storage, attempt_prefix, media_type_of
from worker.batcher import as_job_error
from worker.loaded import Loaded

log = logging.getLogger(__name__)
TELL_EVERY_S = 0.2
RESULT_MAX_BYTES = 32 * 1024
ASK_AGAIN_S = 0.5

STOPS: dict[str, Callable[[Fixed], errors.BacklotError]] = {
    "cancel": lambda fixed: errors.Canceled("the job was canceled"),
    "timeout": lambda fixed: errors.Timeout(f"the attempt ran longer than run_timeout_s = {fixed.run_timeout_s:g} s"),
    "load_timeout": lambda fixed: errors.Timeout(f"the model {fixed.model} took longer to load than it may"),
    "deadline": lambda fixed: errors.DeadlineExceeded(f"deadline_s = {fixed.deadline_s:g} s passed"),
    "lost": lambda fixed: errors.LeaseLost("another worker owns this job now"),
}
"""Why an attempt is asked to stop, and the error it then ends with."""


@dataclass
class Attempt:
    """A claimed job while it is this slot's: what is asked of it, how far it is, how long each step took."""

    claimed: Claimed
    ledger: Ledger
    stop: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    _now: dict = field(default_factory=lambda: {"phase": "fetching"})
    _told: dict = field(default_factory=lambda: {"phase": "fetching"})
    _telling: threading.Lock = field(default_factory=threading.Lock)

    @property
    def fixed(self) -> Fixed:
        return self.claimed.fixed

    def stopped(self) -> bool:
        return self.stop is not None

    def report(self, progress: float, message: str) -> None:
        """Progress for people; costs nothing here, the next round of `tell` takes the newest."""
        self._now = {**self._now, "progress": min(1.0, max(0.0, progress)), "message": message[:1000]}

    @contextlib.contextmanager
    def phase(self, name: str, metric: str) -> Iterator[None]:
        """A step of the attempt, shown to people and timed; a stop that came meanwhile ends it."""
        self._now = {**self._now, "phase": name}
        if name == "running":  # at once, for a model that holds the GIL lets nobody tell it later
            self.tell()
        start = time.monotonic()
        yield
        self.metrics[metric] = round(time.monotonic() - start, 4)
        if self.stop:
            raise STOPS[self.stop](self.fixed)

    def tell(self) -> None:
        """Bring the ledger up to date, if there is news."""
        # one at a time, or an older phase could overtake a newer; Redis away: people wait, the work goes on
        with self._telling, contextlib.suppress(errors.NotReady):
            now = self._now
            if now == self._told:
                return
            answer = self.ledger.report(self.fixed.id, self.claimed.token, **now)
            self._told = now
            if answer != "noted":
                self.stop = self.stop or {"canceling": "cancel", "lost": "lost"}[answer]


class Runner:
    """All that the slots of one process share."""

    def __init__(self, settings: Settings, models: registry.Registry, worker: Worker, ledger: Ledger,
                 storage: Storage) -> None:
        self.settings, self.models, self.worker, self.ledger, self.storage = settings, models, worker, ledger, storage
        self.loaded = Loaded(settings.models_mb, wants_gpu=worker.pool == "gpu")
        self.attempts: dict[str, Attempt] = {}
        self._tokens: dict[str, int] = {}
        threading.Thread(target=self._tell_people, name="progress", daemon=True).start()

    def ask(self, token: str, why: str) -> None:
        """The parent asks an attempt to stop; one that is over is none the wiser."""
        attempt = self.attempts.get(token)
        if attempt:
            attempt.stop = attempt.stop or why

    def serve(self, slot: str) -> None:
        """Run jobs until there are none; then linger, to be woken by the next submit, for a moment."""
        while claimed := self._next(slot):
            attempt = self.attempts[claimed.token] = Attempt(claimed, self.ledger)
            try:
                self._run(attempt)
            finally:
                del self.attempts[claimed.token]

    def _tell_people(self) -> None:
        """Phases and progress reach the ledger in rounds, so that a job shorter than a round costs no call for them."""
        while True:
            time.sleep(TELL_EVERY_S)
            for attempt in list(self.attempts.values()):
                attempt.tell()

    def _next(self, slot: str) -> Claimed | None:
        token = self._new_token(slot)
        claimed = self.ledger.claim(self.worker, slot, token, linger_s=self.settings.linger_s)
        if claimed or not self.settings.linger_s:
            return claimed
        self.ledger.redis.blpop([keys.wake(slot)], timeout=self.settings.linger_s)
        return self.ledger.claim(self.worker, slot, token)

    def _new_token(self, slot: str) -> str:
        """Random, and ascending within the slot, so that a claim that arrives late cannot undo a newer one."""
        self._tokens[slot] = self._tokens.get(slot, 0) + 1
        return f"{self._tokens[slot]:08x}{random.SystemRandom().getrandbits(96):024x}"

    def _run(self, attempt: Attempt) -> None:
        fixed, token, start = attempt.fixed, attempt.claimed.token, time.monotonic()
        log.info("%s %s/%s attempt %d starts", fixed.id, fixed.kind, fixed.model, attempt.claimed.number)
        folder = Path(tempfile.mkdtemp(prefix="backlot-job-"))
        try:
            result, outputs = self._work(attempt, folder)
            ended = insist(lambda: self.ledger.commit(fixed.id, token, result, outputs, attempt.metrics))
        except Exception as raised:  # every end of an attempt is an end of the job's record, never of the slot
            ended = self._fail(attempt, as_job_error(raised))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        log.info("%s attempt %d %s after %.3f s", fixed.id, attempt.claimed.number, ended, time.monotonic() - start)

    def _work(self, attempt: Attempt, folder: Path) -> tuple[dict, list[dict]]:
        fixed = attempt.fixed
        model = self.models.model(fixed.kind, fixed.model)
        with attempt.phase("fetching", "fetch_s"):
            fetched = self._fetch(attempt, folder)
        with contextlib.ExitStack() as stack:
            with attempt.phase("loading", "load_s"):
                batcher = stack.enter_context(self.loaded.use(model))
            with attempt.phase("running", "run_s"):
                params = registry.contract(fixed.kind).params.model_validate(fixed.params)
                (folder / "out").mkdir()
                call = Call(fetched, params, folder / "out", attempt.report, attempt.stopped)
                result = batcher.run(call)
        with attempt.phase("uploading", "upload_s"):
            return self._upload(attempt, _checked(fixed, result), folder)

    def _fetch(self, attempt: Attempt, folder: Path) -> dict:
        """The inputs as a Call has them: files as paths, texts as texts, JSON as it is."""
        fixed = attempt.fixed
        of_kind = registry.contract(fixed.kind).inputs
        fetched = dict.fromkeys(of_kind.model_fields)
        for name, value in fixed.input.items():
            limits = inputs.limits_of(of_kind, name)
            if limits is None or (inputs.is_text(of_kind, name) and isinstance(value, str)):
                fetched[name] = value
                continue
            target = folder / f"input-{name}"
            fetch.fetch(value["url"] if isinstance(value, dict) else value, target, tenant=fixed.tenant,
                        max_bytes=limits.max_bytes, settings=self.settings, storage=self.storage,
                        uploads=fixed.uploads, canceled=attempt.stopped)
            fetched[name] = _text(target, name) if inputs.is_text(of_kind, name) else target
        return fetched

    def _upload(self, attempt: Attempt, result: Result, folder: Path) -> tuple[dict, list[dict]]:
        """Outputs under the attempt's own prefix; a result too large for the record is one of them."""
        fixed, value, files = attempt.fixed, result.value, list(result.files)
        if len(json.dumps(value)) > RESULT_MAX_BYTES:
            large = folder / "result.json"
            large.write_text(json.dumps(value))
            files.append(large)
            value = {"output": large.name}
        prefix = attempt_prefix(fixed.tenant, fixed.id, attempt.claimed.number, attempt.claimed.token)
        outputs = []
        for path in files:
            media_type = media_type_of(path.name)
            size, sha256 = self.storage.put_file(prefix + path.name, path, media_type)
            outputs.append({"name": path.name, "media_type": media_type, "bytes": size, "sha256": sha256,
                            "key": prefix + path.name})
        return value, outputs

    def _fail(self, attempt: Attempt, error: errors.BacklotError) -> str:
        if attempt.stop and not isinstance(error, errors.LeaseLost):
            error = STOPS[attempt.stop](attempt.fixed)  # whatever came up while it was being stopped
        if isinstance(error, errors.LeaseLost):
            return "lost"
        log.info("%s %s: %s", attempt.fixed.id, error.code, error.detail)
        delay = backoff_s(attempt.claimed.number, self.settings) if error.retryable else 0
        return insist(lambda: self.ledger.fail(attempt.fixed.id, attempt.claimed.token, error, delay, attempt.metrics))


def backoff_s(number: int, settings: Settings) -> float:
    """Full jitter: anything between nothing and the first delay, doubled with each attempt up to the longest."""
    return random.uniform(0, min(settings.max_retry_s, settings.retry_s * 2 ** (number - 1)))


def insist(verb: Callable[[], str]) -> str:
    """Ask until Redis answers: what was computed is not thrown away because Redis is away for a while."""
    while True:
        try:
            return verb()
        except errors.NotReady:
            threading.Event().wait(ASK_AGAIN_S)


def _checked(fixed: Fixed, result: Result) -> Result:
    """The result if it fits its kind's contract; a model that answers otherwise has failed."""
    try:
        value = registry.contract(fixed.kind).result.model_validate(result.value)
    except ValueError as error:
        raise errors.ModelFailed(f"the model's result does not fit the kind: {error}"[:500]) from error
    return Result(value.model_dump(mode="json"), result.files)


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise errors.InvalidInput(f"{name} is not UTF-8 text: byte {error.start}") from error
