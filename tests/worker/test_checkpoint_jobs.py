"""A real worker killed in the middle of a transcription: the next attempt goes on from the checkpoint, and nothing is
missing; the slow test does so on thirteen minutes of speech.
"""

import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks
from tasks.broker import Broker
from tasks.bucket.layout import upload_key
from tasks.ids import new_id
from tasks.job import Status, Upload
from tasks.ledger import Ledger, keys
from tests.conftest import make_fixed
from tests.stack import RedisServer, S3Server, Stack, make_settings, make_storage, until
from tests.worker.conftest import ENDS_S, House

SONNET = Path(tasks.__file__).parent / "transcribe" / "samples" / "sonnet1_librivox.opus"  # ten stretches
PATIENCE_S = 1500


@pytest.fixture(scope="module")
def shipped(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory) -> Iterator[House]:
    """A cpu worker of one process with the models that ship."""
    folder = tmp_path_factory.mktemp("checkpoint")
    settings = make_settings(redis_server.for_a_stack(), s3_server, f"kept-{uuid.uuid4().hex[:12]}", folder)
    storage = make_storage(settings)
    stack = Stack(settings, folder)
    with stack.keeper(), stack.worker("cpu") as cpu:
        yield House(stack, Ledger(settings), Broker(settings), storage, {"cpu": cpu})


def transcribe(house: House, recording: Path) -> str:
    """The id of a job that transcribes an upload."""
    upload = new_id("upload")
    key = upload_key("acme", upload, recording.name)
    house.storage.put_file(key, recording, "audio/opus")
    seen = house.storage.head(key)
    fixed = make_fixed(
        kind="transcribe",
        model="hmm",
        input={"audio": f"upload:{upload}"},
        run_timeout_s=3600,
        uploads={upload: Upload(key=key, bytes=seen.bytes, etag=seen.etag)},
    )
    house.ledger.submit(fixed)
    house.broker.ring(fixed.queue)
    return fixed.id


def test_after_kill_9_the_next_attempt_goes_on_from_the_checkpoint(shipped):
    """A word that is put into the checkpoint, and nowhere else, stands in the transcript."""
    job_id = transcribe(shipped, SONNET)
    until(lambda: shipped.ledger.record(job_id).get("checkpoint", "-") != "-", ENDS_S, "a checkpoint")
    record = shipped.ledger.record(job_id)
    process = int(record["slot"].split(":")[1])
    os.kill(process, signal.SIGSTOP)
    head, first, *rest = shipped.storage.get_bytes(record["checkpoint"]).decode().split("\n")
    start, end, words, *fit = json.loads(first)
    marked = json.dumps([start, end, [["kilroy", start, end, 0.5], *words], *fit])
    shipped.storage.put_bytes(record["checkpoint"], "\n".join([head, marked, *rest]).encode(), "text/plain")
    os.kill(process, signal.SIGKILL)
    job = shipped.ended(job_id)
    assert job.status == Status.SUCCEEDED, job.error
    assert [attempt.outcome for attempt in job.attempts] == ["retry", "succeeded"]
    assert job.result["text"].startswith("kilroy ") and len(job.result["text"].split()) > 60
    folder = f"tenants/acme/jobs/{job_id}/checkpoints/"
    assert shipped.ledger.redis.zscore(keys.TRASH, folder), "the checkpoints go, now that the job has ended"


def files(house, job_id: str) -> dict[str, bytes]:
    outputs = json.loads(house.ledger.record(job_id)["outputs"])
    return {output["name"]: house.storage.get_bytes(output["key"]) for output in outputs}


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE_S)
@pytest.mark.data("audio/long")
def test_a_process_killed_at_60_percent_costs_little(shipped, real_data):
    """At most 45 % of the speech is left to the second attempt; all four files equal an undisturbed job's."""
    recording = real_data / "audio" / "long" / "librispeech-8226-274369.opus"
    calm, killed = transcribe(shipped, recording), transcribe(shipped, recording)
    until(lambda: shipped.job(calm).done, PATIENCE_S, "the undisturbed job")
    until(lambda: (shipped.job(killed).progress or 0) >= 0.6, PATIENCE_S, "60 %")
    os.kill(int(shipped.ledger.record(killed)["slot"].split(":")[1]), signal.SIGKILL)
    until(lambda: len(shipped.job(killed).attempts) == 2, 60, "the second attempt")
    begun = until(lambda: shipped.job(killed).progress, 120, "the second attempt's first report")
    until(lambda: shipped.job(killed).done, PATIENCE_S, "the killed job")
    alone, again = shipped.job(calm), shipped.job(killed)
    print(
        f"the second attempt began at {begun:.1%} of the speech; run_s {alone.metrics.run_s:.1f} undisturbed, "
        f"{again.metrics.run_s:.1f} in the second attempt ({again.metrics.run_s / alone.metrics.run_s:.1%})"
    )
    assert (alone.status, again.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert [attempt.outcome for attempt in again.attempts] == ["retry", "succeeded"]
    assert 1 - begun <= 0.45
    assert files(shipped, killed) == files(shipped, calm)
