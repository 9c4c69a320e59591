"""The parent of a worker, the same for both pools: it spawns the Celery process and watches it from outside.

It renews all leases once a second, sees a process die at once, is woken by a cancel, keeps the limits of
time and memory, drains and replaces. It imports no torch and runs no job: a model that holds the GIL for a
minute does not cost its job the lease, and one that hangs cannot keep it.

A process is ended in this order: ask the attempt, wait, kill, see that the process is gone, and only then
write the job's end into the ledger.
"""

import contextlib
import logging
import math
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks import broker
from tasks.errors import BacklotError, LedgerFault, NotReady
from tasks.ledger import Held, Ledger, Worker, connect, keys
from tasks.ledger.faults import away
from tasks.settings import Settings
from worker import app, board
from worker.attempt import HandedBack
from worker.attempt_logs import LeftLogs
from worker.limits import Limits
from worker.loaded import has_gpu
from worker.processes import Processes, process_of
from worker.watchdog import Watchdog

log = logging.getLogger(__name__)
CRASH_LOOP_S = 2
"""A Celery process that dies within so many seconds is replaced after as many more."""


@dataclass
class Parent:
    """One worker. `run()` returns once the worker was told to stop and has drained.

    SIGTERM and SIGINT leave running jobs the grace; SIGQUIT (Celery's 'cold shutdown') releases them at once.
    """

    settings: Settings
    pool: str
    _spawned_at: float = 0
    _draining_since: float | None = None
    _grace_s: float = math.inf
    _told_to_leave: bool = False
    _left: dict[str, str] = field(default_factory=dict)  # slots whose thread is still in an attempt that was ended

    def __post_init__(self) -> None:
        models = self.models = self.settings.registry()
        name = f"{self.pool}-{socket.gethostname().partition('.')[0]}-{secrets.token_hex(4)}"
        shared = self.settings.pools[self.pool] == "gpu"
        self.slots = self.settings.gpu_slots if shared else self.settings.cpu_slots
        lines = broker.lines(models, self.pool)
        # in one process more of a model than two of its batches would only take slots from the other models
        most = [two if shared and two < self.slots else 0 for two in lines.values()]
        self.worker = Worker(name, self.pool, broker.queues(models, self.pool), list(lines), most, shared)
        self.ledger = Ledger(self.settings)
        self.broker = broker.Broker(self.settings)
        self.folder = Path(tempfile.mkdtemp(prefix="backlot-"))
        self.processes = Processes(self.folder / "link")
        self.logs = LeftLogs(self.settings, self.ledger, self.folder)
        self.watchdog = Watchdog(self.settings.watchdog_s)
        of_pool = [model.memory_mb for model in models.models if model.pool == self.pool]
        budget_mb = self.settings.models_mb + max(of_pool, default=0)
        self.limits = Limits(self.settings, models, shared=shared, budget_mb=budget_mb)

    def run(self) -> int:
        """Run the worker until it has drained. Returns the exit status."""
        if not self.worker.queues:
            log.error("no model of models.toml is on the pool %s", self.pool)
            return 1
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._drain(self.settings.grace_s))
        signal.signal(signal.SIGQUIT, lambda *_: self._drain(0))
        log.info(
            "worker %s: %d %s, queues %s%s",
            self.worker.id,
            self.slots,
            "threads" if self.worker.shared else "processes",
            ", ".join(self.worker.queues),
            self._hardware(),
        )
        for line in self.models.absent(self.pool):  # its jobs fail, and say why; all others are served
            log.error("%s", line)
        threading.Thread(target=self._listen_for_cancels, name="cancels", daemon=True).start()
        if not self._bells_arrive():
            return 0
        self._spawn()
        while not self._stopped():
            with _guarded("a round"):
                self.processes.wait(self.settings.renew_s)
                self._round()
        self.logs.finish()
        self.processes.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        log.info("worker %s has stopped", self.worker.id)
        return 0

    # -- one round

    def _round(self) -> None:
        """Renew leases, end the jobs of dead processes, enforce limits; each may be done twice."""
        try:
            now_ms, held = self.ledger.renew(
                self.worker,
                self._draining_since is not None,
                {"slots": str(self.slots), "host": socket.gethostname(), "pid": str(os.getpid())},
            )
        except (NotReady, LedgerFault) as error:
            log.warning("leases not renewed: %s", error.detail)
        else:
            self.limits.keep(held)
            one_each = {process_of(slot.slot): slot.slot for slot in held}
            memory_mb = {process: self.processes.memory_mb(slot) for process, slot in one_each.items()}
            for slot in held:
                with _guarded(slot.job_id):
                    self.logs.bound(slot)
                    if self.processes.is_gone(slot.slot):
                        self._end_dead(slot)
                    else:
                        self._enforce(slot, now_ms, memory_mb[process_of(slot.slot)])
            with contextlib.suppress(NotReady, LedgerFault):
                self._watch(held)
        self._replace()

    def _end_dead(self, slot: Held) -> None:
        """Write the end of the job whose process is gone, and forget the slot."""
        try:
            if slot.state != "lost":
                self._write_end(slot, self.limits.verdict(slot, self.processes.cause(slot.slot)), "its process is gone")
            shutil.rmtree(self.folder / slot.slot.split(":")[1], ignore_errors=True)  # what its jobs had on disk
            self.ledger.forget_slot(self.worker, slot.slot)
        except (NotReady, LedgerFault) as not_now:
            log.warning("%s waits to be buried: %s", slot.job_id, not_now.detail)

    def _write_end(self, slot: Held, error: BacklotError, what: str) -> None:
        """Write the end of an attempt that cannot do so itself; after a ledger fault the sweep does. Keep its log."""
        left = self.logs.left_by(slot)
        try:
            ended = (
                self.ledger.release(slot.job_id, slot.token, cause=error.cause)
                if isinstance(error, HandedBack)
                else self.ledger.fail(slot.job_id, slot.token, error, killed=self.limits.is_to_blame(slot))
            )
        except LedgerFault as fault:
            log.error(
                "%s is left to the sweep, for its end (%s) cannot be written: %s", slot.job_id, error.code, fault.detail
            )
            return
        finally:
            self.logs.keep(left)
        log.warning("%s %s: %s (%s)", slot.job_id, ended, what, error.detail)
        if ended in ("queued", "released"):
            self.broker.ring(slot.line.partition(":")[0])

    def _enforce(self, slot: Held, now_ms: float, memory_mb: float) -> None:
        """Ask an attempt over a limit to stop; where it does not, end its job without it, or kill its process."""
        doing = board.read(self.folder, slot.slot, slot.token)
        step = self.limits.step(slot, doing, now_ms, memory_mb)
        if step == "ask":
            self.processes.send(slot.slot, stop=slot.token, why=self.limits.why(slot))
        elif step == "leave":
            self._write_end(slot, self.limits.verdict(slot), f"it does not leave its phase {doing.phase or '(none)'}")
            self._left[slot.slot] = slot.token
        elif step == "kill":
            log.warning("%s: killing its process (%s)", slot.job_id, self.limits.why(slot))
            self.processes.kill(slot.slot)

    def _watch(self, held: list[Held]) -> None:
        """Kill a Celery process that takes no bells though a slot is free; jobs in its other slots are released."""
        self._left = {
            slot: token
            for slot, token in self._left.items()
            if board.read(self.folder, slot, token) is not board.NOTHING_KNOWN
        }
        busy = len({slot.slot for slot in held} | set(self._left))
        free = self._draining_since is None and self.processes.is_up() and busy < self.slots
        bell_waiting = free and self.ledger.bells(self.worker) > 0
        if self.watchdog.is_stuck(bell_waiting, (self.processes.bells, frozenset(slot.token for slot in held))):
            log.error(
                "no bell was taken for %g s though a slot is free: replacing the Celery process",
                self.settings.watchdog_s,
            )
            for slot in held:
                self.limits.end(slot, "neighbour")
            self.processes.kill_all()

    # -- the Celery process

    def _bells_arrive(self) -> bool:
        """Wait until a bell is seen to arrive in the ledger's Redis; False where it is told to stop first."""
        while self._draining_since is None:
            try:
                with away():  # a connection fails, too, before the keeper has reconciled with this Redis
                    self.broker.prove(self.ledger.redis)
                return True
            except NotReady as error:
                log.error("%s", error.detail)
                self.processes.wait(self.settings.renew_s)
        return False

    def _spawn(self) -> None:
        """Start the Celery process, from the main thread and never as a fork: see `link.die_with_parent`."""
        cores = os.cpu_count() or 1
        threads = cores if self.worker.shared else max(1, cores // self.slots)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # the one that the operator set holds
        # a thread that spins at a barrier holds up, on a busy core, the one that it waits for
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        identity = app.Identity(self.worker, self.slots, self.folder / "link", self.models)
        process = multiprocessing.get_context("spawn").Process(target=app.main, args=(self.settings, identity))
        process.start()
        self._spawned_at = time.monotonic()
        self.processes.main = process

    def _replace(self) -> None:
        """Replace a dead Celery process, at once unless it dies at every start."""
        if self._draining_since is not None or self.processes.main.is_alive():
            return
        log.error("the Celery process died (exit status %s); replacing it", self.processes.main.exitcode)
        if time.monotonic() - self._spawned_at < CRASH_LOOP_S:
            threading.Event().wait(CRASH_LOOP_S)
        self._spawn()

    def _drain(self, grace_s: float) -> None:
        """Claim no more; jobs that fit the grace finish. Asked again, the shorter grace holds."""
        if grace_s < self._grace_s:
            log.info("draining for at most %g s", grace_s)
            self._grace_s, self._draining_since = grace_s, self._draining_since or time.monotonic()
        self.processes.wake()

    def _stopped(self) -> bool:
        """True once the worker was told to stop, the Celery process is gone and no end is left to write."""
        if self._draining_since is None:
            return False
        over = time.monotonic() - self._draining_since - self._grace_s
        held = self._held()
        if self.processes.main.is_alive():
            if over > 0:
                for slot in held or ():
                    self.limits.end(slot, "drain")
                self.processes.kill_all()
            elif held is not None and not self._told_to_leave:
                # the ledger knows of the drain, so no claim follows; Celery lets its tasks end and takes no new bell
                self.processes.main.terminate()
                self._told_to_leave = True
            return False
        return held == [] or over > self.settings.lease_s

    def _held(self) -> list[Held] | None:
        """The slots that hold a job; None where Redis does not say."""
        try:
            return self.ledger.renew(self.worker, draining=True)[1]
        except (NotReady, LedgerFault):
            return None

    # -- being woken

    def _listen_for_cancels(self) -> None:
        """Wake the parent at a cancel by a blocking read, so that it need not wait for the next round."""
        client = connect(self.settings, read_timeout_s=3)
        while True:
            try:
                if client.blpop([keys.wake(self.worker.id)], timeout=1):
                    self.processes.wake()
            except Exception as error:  # Redis is away: the rounds go on asking, and say so
                log.debug("cancels not heard: %s", type(error).__name__)
                threading.Event().wait(self.settings.renew_s)

    def _hardware(self) -> str:
        if not self.worker.shared or has_gpu():
            return ""
        return f"; NO GPU is visible here: the {self.pool} pool runs on CPU threads"


@contextlib.contextmanager
def _guarded(what: str) -> Iterator[None]:
    """Log a defect and go on: if the parent died, all jobs of the worker would be lost."""
    try:
        yield
    except Exception:
        log.exception("%s was not looked after", what)
        threading.Event().wait(0.1)
