"""Sleeps in C as many seconds as its prompt says, holding the GIL all the while: no Python thread runs beside it."""

import ctypes

from tasks.algorithm import Algorithm
from tests.models.noop import answer, begin


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        for call in calls:
            ctypes.PyDLL(None).sleep(int(begin(call.inputs["prompt"])))
        return [answer("slept") for _ in calls]
