"""Writes its prompt into a file, reports it, and says how many calls it was given at once."""

from tasks.algorithm import Algorithm, Result
from tests.models.noop import answer


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        results = []
        for call in calls:
            path = call.workdir / "echo.txt"
            path.write_text(call.inputs["prompt"])
            call.report(1.0, "written")
            results.append(Result(answer(f"batch of {len(calls)}").value, [path]))
        return results
