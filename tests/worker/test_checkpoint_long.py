"""Thirteen minutes of speech, the process killed at 60 %: the second attempt does the rest, and nothing is missing."""

import json
import os
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


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE_S)
@pytest.mark.skipif("BACKLOT_DATA" not in os.environ, reason="BACKLOT_DATA is unset: the long recording is NOT heard")
def test_a_process_killed_at_60_percent_costs_little(shipped):  # noqa: F811
    """At most 45 % of the speech is left to the second attempt; all four files equal an undisturbed job's."""
    calm, killed = transcribe(shipped, RECORDING), transcribe(shipped, RECORDING)
    until(lambda: shipped.job(calm).done, PATIENCE_S, "the undisturbed job")
    until(lambda: (shipped.job(killed).progress or 0) >= 0.6, PATIENCE_S, "60 %")
    os.kill(int(shipped.ledger.record(killed)["slot"].split(":")[1]), signal.SIGKILL)
    until(lambda: len(shipped.job(killed).attempts) == 2, 60, "the second attempt")
    begun = until(lambda: shipped.job(killed).progress, 120, "the second attempt's first report")
    until(lambda: shipped.job(killed).done, PATIENCE_S, "the killed job")
    alone, again = shipped.job(calm), shipped.job(killed)
    print(f"the second attempt began at {begun:.1%} of the speech; run_s {alone.metrics.run_s:.1f} undisturbed, "
          f"{again.metrics.run_s:.1f} in the second attempt ({again.metrics.run_s / alone.metrics.run_s:.1%})")
    assert (alone.status, again.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert [attempt.outcome for attempt in again.attempts] == ["retry", "succeeded"]
    assert 1 - begun <= 0.45
    assert files(shipped, killed) == files(shipped, calm)
