"""What Backlot is measured against: Flask, Celery and Redis in the obvious way, one Celery message a job.

Defaults throughout, with Redis as broker (database 0) and for results (database 1). It checks no key, validates
nothing and keeps no journal: it does less for each job.
"""

import os
import time

from celery import Celery
from flask import Flask, request


def noop(prompt: str) -> str:
    """The job: answers when it started, ns since 1970, as the model probe.py does."""
    return str(time.time_ns())


def queue_at(url: str) -> Celery:
    """The Celery app for the Redis at this URL (without a database), with its one task."""
    app = Celery("naive", broker=f"{url}/0", backend=f"{url}/1")
    app.task(noop, name="noop")
    return app


queue = queue_at(os.environ.get("NAIVE_REDIS_URL", "redis://127.0.0.1:6379"))
app = Flask(__name__)


@app.post("/v1/jobs")
def submit():
    result = queue.tasks["noop"].apply_async(args=[request.get_json()["input"]["prompt"]])
    return {"id": result.id, "status": "queued"}, 202
