"""Takes as many MiB as its prompt says, and keeps them for a minute."""

import time

from tasks.algorithm import Algorithm
from tests.models.noop import answer, begin


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        taken = [b"x" * (int(begin(call.inputs["prompt"])) << 20) for call in calls]
        until = time.monotonic() + 60
        while taken and time.monotonic() < until and not any(call.canceled() for call in calls):
            time.sleep(0.05)
        return [answer("kept") for _ in calls]
