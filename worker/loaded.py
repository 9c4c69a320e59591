"""The models in this process's memory: loaded at first use or ahead of it, shared, evicted by least recent use.

It knows nothing of jobs. Algorithm files, and so torch, are imported when their model is loaded.
"""

import importlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from tasks import text
from tasks.algorithm import implementation
from tasks.errors import BacklotError, ModelFailed
from tasks.registry import Model
from worker.arrivals import Arrivals
from worker.batcher import Batcher, as_job_error

log = logging.getLogger(__name__)
CHECK_EVERY_S = 0.1
"""Seconds between two calls of `check` while another thread loads the model."""


@dataclass
class _Entry:
    batcher: Batcher
    mb: float
    users: int = 0


class Loaded:
    """The models in memory, at most `budget_mb` of them together, MiB as the process grew when each was loaded.

    `locate`: the folder of a model's weights on this machine, fetched first where they lie elsewhere. `arrivals`: the
    calls on their way to them.
    """

    def __init__(
        self,
        budget_mb: int,
        wants_gpu: bool,
        locate: Callable[[Model], Path | None] = Model.weights_path,
        arrivals: Arrivals | None = None,
    ) -> None:
        self._budget_mb, self._wants_gpu, self._locate = budget_mb, wants_gpu, locate
        self._arrivals = arrivals or Arrivals()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}

    @contextmanager
    def use(
        self, model: Model, check: Callable[[], None] = lambda: None, loads: Callable[[], None] = lambda: None
    ) -> Iterator[Batcher]:
        """The model, loaded, and kept while in use. `loads` is called where this call is the one that loads it; while
        another does, `check` is, again and again. Errors: ModelFailed where it cannot be loaded; what `check` raises.
        """
        entry = self._take(model.key) or self._taken_once_loaded(model, check, loads)
        try:
            yield entry.batcher
        finally:
            with self._lock:
                entry.users -= 1

    def _taken_once_loaded(self, model: Model, check: Callable[[], None], loads: Callable[[], None]) -> _Entry:
        while not (loading := self._loading_of(model.key)).acquire(timeout=CHECK_EVERY_S):
            check()
        try:
            entry = self._take(model.key)
            if entry is None:
                loads()
                entry = self._admit(model.key, self._load(model))
            return entry
        finally:
            loading.release()

    def load_ahead(self, model: Model) -> bool:
        """Load the model before its first use; False where the budget has no room for it beside the others, so that a
        later one never evicts an earlier. Errors: ModelFailed where it cannot be loaded.
        """
        with self._loading_of(model.key):
            if self._entries.get(model.key):
                return True
            entry = self._load(model)
            with self._lock:
                there = model.key in self._entries  # it was given up, and a job has loaded it meanwhile
                fits = not self._entries or self._used_mb() + entry.mb <= self._budget_mb
                if fits and not there:
                    self._entries[model.key] = entry
                    return True
        entry.batcher.close()
        return there

    def give_up(self, model: Model) -> None:
        """Let the model's next user load it, though another thread has begun to."""
        with self._lock:
            self._loading.pop(model.key, None)

    def _loading_of(self, key: str) -> threading.Lock:
        with self._lock:
            return self._loading.setdefault(key, threading.Lock())

    def _load(self, model: Model) -> _Entry:
        before, start = _rss_mb(), time.monotonic()
        importlib.invalidate_caches()  # a library may have been installed since this process started
        try:
            made = implementation(model.kind, model.algorithm)
            imported = time.monotonic()
            algorithm = made.load(self._locate(model), self._device())
        except ImportError as error:
            raise ModelFailed(
                f"the worker lacks a library that {model.key} needs: {error.name or error}", retryable=True
            ) from error
        except (BacklotError, MemoryError) as error:
            log.warning("%s, weights %s, could not be loaded: %s", model.key, model.weights, error, exc_info=error)
            raise as_job_error(error) from error
        except Exception as error:
            log.warning("%s, weights %s, could not be loaded", model.key, model.weights, exc_info=error)
            words = text.without_paths(f"{type(error).__name__}: {error}")
            raise ModelFailed(f"{model.key} could not be loaded: {words}"[:500]) from error
        mb = max(1.0, _rss_mb() - before)
        log.info(
            "loaded %s in %.2f s (imports %.2f s), %.0f MiB", model.key, time.monotonic() - start, imported - start, mb
        )
        soon = partial(self._arrivals.soon, model.key)
        return _Entry(Batcher(algorithm, model.batch, model.batch_wait_ms / 1000, model.key, soon), mb)

    def _take(self, key: str) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry:
                entry.users += 1
                self._entries.move_to_end(key)
            return entry

    def _admit(self, key: str, entry: _Entry) -> _Entry:
        entry.users = 1
        with self._lock:
            self._entries[key] = entry
            for other in [k for k, e in self._entries.items() if not e.users]:
                if self._used_mb() <= self._budget_mb:
                    break
                log.info("evicted %s", other)
                self._entries.pop(other).batcher.close()
        return entry

    def _used_mb(self) -> float:
        return sum(entry.mb for entry in self._entries.values())

    def _device(self) -> str:
        """'cuda' on a gpu worker whose machine has one that torch can use, else 'cpu'."""
        if not (self._wants_gpu and has_gpu()):
            return "cpu"
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"


def has_gpu() -> bool:
    """True where an NVIDIA device is visible; asks the file system, as the parent may not touch CUDA."""
    return os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/dxg")


def _rss_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20
