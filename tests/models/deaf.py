"""Sleeps as many seconds as its prompt says, in Python, and listens to nothing."""

import time

from tasks.algorithm import Algorithm
from tests.models.noop import answer, begin


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        for call in calls:
            time.sleep(begin(call.inputs["prompt"]))
        return [answer("slept") for _ in calls]
