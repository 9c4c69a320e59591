"""A model that sleeps as many seconds as its prompt says, and takes LOAD_S to load. It uses no CPU."""

import time

from tasks.algorithm import Algorithm, Result

LOAD_S = 1.0


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        time.sleep(LOAD_S)
        return cls()

    def run(self, calls):
        for call in calls:
            time.sleep(float(call.inputs["prompt"]))
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
        return [Result({"text": "", "finish_reason": "stop", "usage": usage}) for _ in calls]
