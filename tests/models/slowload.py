"""Takes three seconds to load, then answers at once."""

import time

from tasks.algorithm import Algorithm
from tests.models.noop import answer


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        time.sleep(3)
        return cls()

    def run(self, calls):
        return [answer("loaded") for _ in calls]
