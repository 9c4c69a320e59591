"""Says what no text may have in it, by its prompt: in its error, its message, its result, or the name of its output."""

import time

from tasks.algorithm import Algorithm, Result
from tasks.errors import UnsupportedMedia
from tests.models.noop import answer

FOUL = "bad \ud800\nERROR forged line\x00 "


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("has no words")


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        return [self._one(call) for call in calls]

    def _one(self, call):
        match call.inputs["prompt"]:
            case "raise":
                raise RuntimeError(FOUL * 500)
            case "wordless":
                raise Wordless
            case "error":
                return UnsupportedMedia(FOUL * 500)
            case "message":
                call.report(0.5, FOUL * 500)
                while not call.canceled():
                    time.sleep(0.01)
            case "name":
                path = call.workdir / "b\udcffad.txt"
                path.write_text("x")
                return Result(answer("named").value, [path])
        return answer(FOUL)
