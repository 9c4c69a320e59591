"""Makes a file of each name in its prompt, a JSON list; a name may have folders. The text says how many."""

import json

from tasks.algorithm import Algorithm, Result
from tests.models.noop import answer


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        return [self._one(call, json.loads(call.inputs["prompt"])) for call in calls]

    def _one(self, call, names):
        paths = [call.workdir / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
        return Result(answer(str(len(names))).value, paths)
