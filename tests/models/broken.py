"""Raises for the prompt 'bad', for the whole batch that holds it; answers all others."""

from tasks.algorithm import Algorithm
from tests.models.noop import answer


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        if any(call.inputs["prompt"] == "bad" for call in calls):
            raise RuntimeError("this input breaks the model")
        return [answer(f"good in a batch of {len(calls)}") for call in calls]
