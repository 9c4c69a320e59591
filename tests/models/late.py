"""Sleeps as many seconds as its prompt says, listening to nothing, then writes a file of so many KiB.

Each run adds a line to the file that the prompt names last, so that a test can count them.
"""

import os
import time

from tasks.algorithm import Algorithm, Result
from tests.models.noop import answer


class Model(Algorithm):
    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        results = []
        for call in calls:
            seconds, kib, mark = call.inputs["prompt"].split(" ", 2)
            with open(mark, "a") as runs:
                runs.write("ran\n")
            time.sleep(float(seconds))
            path = call.workdir / "bytes.bin"
            path.write_bytes(os.urandom(int(kib) << 10))
            results.append(Result(answer("made").value, [path]))
        return results
