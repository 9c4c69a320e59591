"""Answers at once."""

from tasks.algorithm import Algorithm, Result


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        return [answer(call.inputs["prompt"]) for call in calls]


def answer(text: str) -> Result:
    return Result({"text": text, "finish_reason": "stop", "usage": {"prompt_tokens": 0, "completion_tokens": 0}})
