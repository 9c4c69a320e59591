"""The Celery process of a worker: settings, pool, the one task `doorbell(queue)`.

A pool of the sort cpu is Celery's prefork, a job a child; one of the sort gpu is Celery's threads, one copy of each
model.
Each process that runs jobs has a link to the parent, which renews the leases and keeps the limits.
"""

import importlib
import logging
import os
import signal
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Task, signals
from celery.exceptions import SecurityWarning
from celery.utils.nodenames import nodename

from tasks import logs
from tasks.broker import DOORBELL, Broker, celery_app
from tasks.confinement import no_new_privileges
from tasks.errors import NotReady
from tasks.ledger import Worker
from tasks.registry import Registry
from tasks.settings import Settings
from worker import preload
from worker.link import Link, Message, die_with_parent, started

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """The parent's arguments for the process that it spawns."""

    worker: Worker
    slots: int
    link: Path
    models: Registry
    """The models as the parent read them: a replacement process needs no file that is being edited."""


class Process:
    """The state of one process that runs jobs: made after the fork, as connections do not survive one."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        from worker.run import Runner  # imports boto3, which the parent, who imports this file, does not need

        slots = identity.slots if identity.worker.shared else 1
        scratch = identity.link.parent / str(os.getpid())
        self.runner = Runner(settings, identity.worker, scratch, identity.models, slots)
        self.broker = Broker(settings)
        self.link = Link(identity.link, "runner", self.on_message)
        self.name = f"{identity.worker.id}:{os.getpid()}:{started(os.getpid())}"
        log.info("process %s is up", self.name)
        wanted = [model for model in identity.models.models if model.preload and model.pool == identity.worker.pool]
        preload.start(self.runner.loaded, wanted, identity.link.parent / "preloading")

    def on_message(self, message: Message) -> None:
        self.runner.ask(message["stop"], message["why"])

    def answer(self, queue: str, bell: str) -> None:
        """Answer a doorbell: run jobs until there are none. Celery sees no error, for it must not retry."""
        self.link.send(serving=bell, pid=os.getpid())
        try:
            self.runner.serve(f"{self.name}:{threading.get_native_id()}")
            if self.runner.ledger.waits(self.runner.worker):  # it drains, and others should know
                self.broker.ring(queue)
        except Exception as error:
            waits = error.detail if isinstance(error, NotReady) else repr(error)
            log.warning("left the queue %s: %s", queue, waits, exc_info=not isinstance(error, NotReady))


def main(settings: Settings, identity: Identity) -> None:
    """Run Celery until SIGTERM; the parent spawns this."""
    os.setsid()  # a signal to the parent's group is the parent's business
    die_with_parent()
    no_new_privileges()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.start(settings.log_level)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)  # a line for every doorbell
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    _import_before_forks()
    app = celery_app(settings, ringing=False)
    app.conf.worker_proc_alive_timeout = 60  # a child on a busy machine; Celery kills it after 4 s otherwise
    prefork = not identity.worker.shared
    here: dict[str, Process] = {}

    @app.task(name=DOORBELL, bind=True)
    def doorbell(task: "Task[Any, None]", queue: str) -> None:
        here["process"].answer(queue, task.request.id or "")

    if prefork:
        link = Link(identity.link, "main", lambda message: None)
        _tell_of_lost_children(link)

        @signals.worker_process_init.connect(weak=False)
        def child(**_: object) -> None:
            die_with_parent()
            here["process"] = Process(settings, identity)
    else:
        here["process"] = Process(settings, identity)
    worker = app.Worker(
        hostname=nodename(identity.worker.id, "backlot"),
        pool="prefork" if prefork else "threads",
        concurrency=identity.slots,
        queues=list(identity.worker.queues),
        loglevel=settings.log_level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    raise SystemExit(worker.exitcode)


def _import_before_forks() -> None:
    """Import what every child needs, so that a replacement child starts at once. No algorithm is imported."""
    for name in ("boto3", "httpx", "worker.run"):
        importlib.import_module(name)
    # Celery warns root of pickle; here it takes JSON alone
    warnings.filterwarnings("ignore", category=SecurityWarning)


def _tell_of_lost_children(link: Link) -> None:
    """Tell the parent by which signal a child died: only Celery's main process sees it."""

    @signals.task_failure.connect(weak=False)
    def lost(task_id: str, exception: BaseException, **_: object) -> None:
        link.send(lost=task_id, text=str(exception))
