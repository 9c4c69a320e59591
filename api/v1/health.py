"""Whether the process lives and can work, and a page for a person who came with a browser."""

import logging
import re
from typing import Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel

from api.answers import answer, services
from tasks.errors import StorageUnavailable

routes = Blueprint("health", __name__)
log = logging.getLogger(__name__)

INDEX = """Backlot runs models as jobs.

POST /v1/jobs                      submit a job: recommend, transcribe, caption, generate
GET  /v1/jobs, /v1/jobs/{id}       look; with `Prefer: wait=30`, wait
POST /v1/jobs/{id}/cancel, /retry  cancel one, do one again
GET  /v1/jobs/{id}/outputs/{name}  what it made
POST /v1/uploads                   a place for a large file
GET  /v1/models                    what can be asked for
GET  /v1/pools                     who works (operators)
GET  /openapi.json                 all of it, for machines
GET  /healthz, /readyz             how this process is

Everything under /v1 needs the header `Authorization: Bearer <key>`.
"""


class Health(BaseModel):
    """How the process is. `degraded`: jobs go on, but files can neither be taken in nor given out."""

    status: Literal["ok", "degraded"] = "ok"
    redis: str | None = None
    bucket: str | None = None


@routes.get("/")
def index() -> Response:
    text = re.sub(r"(?<![^\s])/(?=v1|openapi|healthz|readyz)", f"{request.script_root}/", INDEX)
    if request.accept_mimetypes.best_match(["text/plain", "text/html"]) == "text/html":
        path = f"{request.script_root}/openapi.json"
        page = text.replace("<", "&lt;").replace(path, f'<a href="{path}">{path}</a>')
        return Response(
            f'<!doctype html><meta charset="utf-8"><title>Backlot</title><pre>{page}</pre>', mimetype="text/html"
        )
    return Response(text, mimetype="text/plain")


@routes.get("/healthz")
def healthz() -> Response:
    return answer(Health())


@routes.get("/readyz")
def readyz() -> Response:
    """503 without Redis; without the bucket jobs can still be seen, canceled and, if they bring no file, submitted."""
    jobs = services().jobs
    jobs.ledger.ready()
    jobs.broker.prove(jobs.ledger.redis)
    try:
        jobs.storage.check()
    except StorageUnavailable as error:
        log.warning("degraded: %s", error.detail)
        return answer(Health(status="degraded", redis="ok", bucket=error.detail))
    return answer(Health(redis="ok", bucket="ok"))
