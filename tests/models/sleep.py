"""Sleeps as many seconds as its prompt says, in Python, and listens to a stop. Its text so far is a dot a look."""

import time

from tasks.algorithm import Algorithm
from tasks.errors import Canceled
from tests.models.noop import answer, begin


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        return [self._one(call) for call in calls]

    def _one(self, call):
        seconds = begin(call.inputs["prompt"])
        until, dots = time.monotonic() + seconds, ""
        while (left := until - time.monotonic()) > 0:
            if call.canceled():
                return Canceled("stopped as asked")
            call.report(1 - left / seconds, f"{left:.1f} s left")
            dots += "."
            call.so_far(dots)
            time.sleep(0.02)
        return answer("slept")
