"""A batch whose rows are written side by side, a step every 20 ms; each has as many steps as its prompt says.

A row that has ended, or was stopped, is answered and leaves the batch, as those of generate's language models do.
"""

import time

from tasks.algorithm import Algorithm
from tasks.errors import Canceled
from tests.models.noop import answer, begin


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        outcomes, left = {}, {n: begin(call.inputs["prompt"]) for n, call in enumerate(calls)}
        while left:
            time.sleep(0.02)
            for n in list(left):
                left[n] -= 1
                if calls[n].canceled() or left[n] <= 0:
                    outcomes[n] = Canceled("stopped") if calls[n].canceled() else answer(f"of {len(calls)} rows")
                    calls[n].answer(outcomes[n])
                    del left[n]
        return [outcomes[n] for n in range(len(calls))]
