"""The interface every algorithm implements: calls in, a result or an error for each out.

It knows nothing of Redis, Celery, S3 or HTTP, so an algorithm can be tried from a REPL in three lines:

    from tasks.algorithm import Call, load
    algorithm = load("transcribe", "hmm")
    algorithm.run([Call.of("transcribe", audio="talk.mp3")])
"""

import importlib
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.errors import BacklotError


def _made_anew(name: str, make: Callable[[Path], None]) -> Path:
    """Makes the artefact in a new folder: without a worker none is kept."""
    folder = Path(tempfile.mkdtemp(prefix="backlot-artefact-"))
    make(folder)
    return folder


@dataclass(frozen=True)
class Call:
    """One job as an algorithm sees it.

    inputs    by name: a file input is the Path of the fetched file, a text input the text, a JSON
              input the value; a field of repeated files is a list of Paths. What the caller left
              out is None
    params    the kind's validated Params; each kind's own functions name the type
    workdir   an empty folder of this call's own; files of the result are written there
    report    report(progress 0-1, message) for people; may be called often, the worker throttles
    canceled  canceled() is True once the work should stop: raise errors.Canceled soon after
    artefact  artefact(name, make) returns a cached folder. On a miss, `make` writes it into the empty folder that it
              is given. `name` ([a-z0-9-], 100 characters at most) is the cache key: it names all that the artefact
              depends on, such as a hash of the data
    save      save(data) writes a checkpoint: the bytes from which the next attempt resumes if this one is lost. May be
              called often; the worker stores the newest every few seconds
    answer    answer(result or error) ends this call before `run` returns: its job ends at once, the batch goes on. The
              worker ignores what `run` returns for it later, and reuses its workdir
    so_far    so_far(text) tells people the text so far, from its beginning; it only grows, and is the beginning of the
              result's. May be called often, the worker throttles
    log       a logger: its lines, from INFO on, are in the job's log. In a process that jobs share, nothing else is but
              warnings and libraries' loggers while this call runs alone in its batch
    saved     saved() returns the last attempt's checkpoint, or None. An input that is fetched from a URL may have
              changed since: put a hash of the input into the checkpoint, and start over where it differs
    """

    inputs: Mapping[str, Any]
    params: Any
    workdir: Path
    report: Callable[[float, str], None] = lambda progress, message: None
    canceled: Callable[[], bool] = lambda: False
    artefact: Callable[[str, Callable[[Path], None]], Path] = _made_anew
    save: Callable[[bytes], None] = lambda data: None
    saved: Callable[[], bytes | None] = lambda: None
    answer: Callable[["Result | BacklotError"], None] = lambda outcome: None
    so_far: Callable[[str], None] = lambda text: None
    log: logging.Logger = logging.getLogger(__name__)

    @classmethod
    def of(cls, kind: str, params: Mapping[str, Any] | None = None, **inputs: Any) -> "Call":
        """A call made by hand, in a REPL or a test: params as a dict, file inputs as paths."""
        from tasks.registry import contract  # the registry imports the kinds, which import this file

        known = contract(kind)
        files = {
            name: Path(value) if known.is_file(name) and isinstance(value, str) else value
            for name, value in inputs.items()
        }
        absent = dict.fromkeys(known.inputs.model_fields)
        return cls(
            {**absent, **files},
            known.params.model_validate(params or {}),
            Path(tempfile.mkdtemp(prefix="backlot-call-")),
        )


@dataclass(frozen=True)
class Result:
    """`value` is small JSON that fits the kind's Result model; `files` become the job's outputs, by file name."""

    value: dict[str, Any]
    files: Sequence[Path] = field(default_factory=tuple)


def succeeded(outcome: Result | BacklotError) -> Result:
    """Returns the result, or raises the error that the call ended with."""
    if isinstance(outcome, BacklotError):
        raise outcome
    return outcome


class Algorithm(ABC):
    """The code that can run a model. One subclass a file, named `Model`."""

    @classmethod
    @abstractmethod
    def load(cls, weights: Path | None, device: str) -> "Algorithm":
        """Read the weights (a file or a folder; None where the algorithm has none) onto `device`, 'cpu' or 'cuda'."""

    @abstractmethod
    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        """Runs a batch: a result or an error for each call, in order.

        With one call, raising BacklotError is the same as returning it. Any other exception is a defect: the worker
        reports `model_failed`. A model answers and drops a canceled call as soon as it can; the other calls go on.
        A model that cannot stop says so in its docstring and should have `batch = 1`: the worker kills a process
        that runs past its time limit.
        """

    def batch_key(self, call: Call) -> Hashable:
        """Calls with equal keys may share a batch: the params that must agree. Default: all may."""
        return None

    def length(self, call: Call) -> int:
        """The amount of work in a call, in a unit of the model's own; the batcher groups calls of similar length."""
        return 0


def implementation(kind: str, algorithm: str) -> type[Algorithm]:
    """The class `Model` in tasks/<kind>/<algorithm>.py or, for a dotted name, in that module; imports what it needs."""
    from tasks.registry import module_of  # the registry imports the kinds, which import this file

    found: type[Algorithm] = importlib.import_module(module_of(kind, algorithm)).Model
    return found


def load(kind: str, name: str | None = None, device: str = "cpu") -> Algorithm:
    """The named model of the registry (or the kind's default), loaded."""
    from tasks.registry import Registry

    model = Registry.default().model(kind, name)
    return implementation(kind, model.algorithm).load(model.weights_path(), device)
