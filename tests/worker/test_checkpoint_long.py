"""Thirteen minutes of speech, the process killed at 60 %: the second attempt does the rest, and nothing is missing."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tasks.job import Status
from tests.stack import until
from tests.worker.test_checkpoint import shipped, transcribe  # noqa: F401

RECORDING = Path(os.environ.get("BACKLOT_DATA", "")) / "audio" / "long" / "librispeech-8226-274369.opus"
PATIENCE_S = 1500


def files(house, job_id: str) -> dict[str, bytes]:
    outputs = json.loads(house.ledger.record(job_id)["outputs"])
    return {output["name"]: house.storage.get_bytes(output["key"]) for output in outputs}


def segment(house, job_id: str) -> tuple[int, int] | None:
    """Which is heard now, of how many."""
    told = re.match(r"segment (\d+) of (\d+)", house.job(job_id).message or "")
    return told and (int(told[1]), int(told[2]))


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE_S)
@pytest.mark.skipif("BACKLOT_DATA" not in os.environ, reason="BACKLOT_DATA is unset: the long recording is NOT heard")
def test_a_process_killed_at_60_percent_costs_little(shipped):  # noqa: F811
    """At most 45 % of the stretches are left to the second attempt; all four files equal an undisturbed job's."""
    calm, killed = transcribe(shipped, RECORDING), transcribe(shipped, RECORDING)
    until(lambda: shipped.job(calm).done, PATIENCE_S, "the undisturbed job")
    until(lambda: (shipped.job(killed).progress or 0) >= 0.6, PATIENCE_S, "60 %")
    os.kill(int(shipped.ledger.record(killed)["slot"].split(":")[1]), signal.SIGKILL)
    until(lambda: len(shipped.job(killed).attempts) == 2, 60, "the second attempt")
    first, of = until(lambda: segment(shipped, killed), 120, "the second attempt's first stretch")
    until(lambda: shipped.job(killed).done, PATIENCE_S, "the killed job")
    alone, again = shipped.job(calm), shipped.job(killed)
    print(f"second attempt began at stretch {first} of {of}; run_s {alone.metrics.run_s:.1f} undisturbed, "
          f"{again.metrics.run_s:.1f} in the second attempt ({again.metrics.run_s / alone.metrics.run_s:.1%})")
    assert (alone.status, again.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert [attempt.outcome for attempt in again.attempts] == ["retry", "succeeded"]
    assert of - first + 1 <= 0.45 * of
    assert files(shipped, killed) == files(shipped, calm)
