"""A model called offline: no queue, no worker, its requests in batches from a loop.

It runs in a process of its own, which the measurement keeps while the worker has its turn.
"""

import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tasks import registry
from tasks.algorithm import Algorithm, Call, Result, implementation
from tests.bench.batching_models import Asked


@cache
def loaded(models: Path, kind: str, name: str) -> Algorithm:
    model = registry.Registry.read(models).model(kind, name)
    return implementation(kind, model.algorithm).load(model.weights_path(), "cpu")


def rates(models: Path, asked: Sequence[Asked], batch: int) -> tuple[float, float]:
    """Requests a second, and CPU milliseconds of one, `batch` at a time, like lengths together; the model is loaded
    before."""
    algorithm = loaded(models, asked[0].kind, asked[0].model)
    with tempfile.TemporaryDirectory() as folder:
        calls = [_call(one, Path(folder) / str(number)) for number, one in enumerate(asked)]
        calls.sort(key=algorithm.length)
        start, spent = time.perf_counter(), time.process_time()
        for first in range(0, len(calls), batch):
            for outcome in algorithm.run(calls[first : first + batch]):
                assert isinstance(outcome, Result), outcome
        return len(calls) / (time.perf_counter() - start), 1e3 * (time.process_time() - spent) / len(calls)


def _call(asked: Asked, workdir: Path) -> Call:
    contract = registry.contract(asked.kind)
    file = {FILE[asked.kind]: asked.file} if asked.file else {}
    workdir.mkdir()
    inputs = {**dict.fromkeys(contract.inputs.model_fields), **asked.inputs, **file}
    return Call(inputs, contract.params.model_validate(asked.params), workdir)


FILE = {"transcribe": "audio", "caption": "image"}
"""The input that is a file, by kind."""
