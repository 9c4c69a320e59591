"""Loads the models marked `preload` when a process that runs jobs starts, one after another, beside its first jobs.

It stops neither jobs nor the process: a model that fails, hangs, finds no room, or ended a process before is left to
its first job, and the log says so. It knows nothing of jobs.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tasks.apart import Apart
from tasks.errors import BacklotError, Timeout
from tasks.registry import Model
from worker.loaded import Loaded

log = logging.getLogger(__name__)
LEFT = "%s is not preloaded and is left to its first job: %s"


def start(loaded: Loaded, models: Sequence[Model], notes: Path) -> None:
    """Preload on a thread. `notes`: a folder that all processes of the worker share, one after another too."""
    if models:
        threading.Thread(target=load_all, args=(loaded, models, notes), name="preload", daemon=True).start()


def load_all(loaded: Loaded, models: Sequence[Model], notes: Path) -> None:
    """Load one model after another. A note names the model that a process is loading; one left by a process that is
    gone names a model that ends processes."""
    notes.mkdir(exist_ok=True)
    deadly = {note.read_text() for note in notes.iterdir() if not psutil.pid_exists(int(note.name))}
    note = notes / str(os.getpid())
    for model in models:
        if model.key in deadly:
            log.error(LEFT, model.key, "a process of this worker has ended while it was preloaded")
            continue
        note.write_text(model.key)
        try:
            if not _load_in_time(loaded, model):
                log.warning(LEFT, model.key, "BACKLOT_MODELS_MB has no room for it beside the models in memory")
        except BacklotError as error:
            log.error(LEFT, model.key, error.detail)
        except Exception:
            log.exception(LEFT, model.key, "a defect")
    note.unlink(missing_ok=True)


def _load_in_time(loaded: Loaded, model: Model) -> bool:
    """False where the model found no room. Errors: ModelFailed; Timeout past load_timeout_s."""
    given_up_at = time.monotonic() + model.load_timeout_s

    def check() -> None:
        if time.monotonic() > given_up_at:
            loaded.give_up(model)
            raise Timeout(f"it took longer than its load_timeout_s = {model.load_timeout_s:g} s")

    return Apart("preload", 1).call(lambda: loaded.load_ahead(model), check)
