"""Health of the process, and an index page for a person with a browser."""

import logging
import re
from typing import Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, Field

from api.answers import answer, services
from tasks.errors import StorageUnavailable

routes = Blueprint("health", __name__)
log = logging.getLogger(__name__)

INDEX = """Backlot runs models as jobs.

POST /v1/jobs                      submit a job: recommend, transcribe, caption, generate
GET  /v1/jobs, /v1/jobs/{id}       list jobs, read one; with `Prefer: wait=30`, wait for it
POST /v1/jobs/{id}/cancel, /retry  cancel a job, submit it again
GET  /v1/jobs/{id}/outputs/{name}  download an output
POST /v1/uploads                   create an upload for a large file
GET  /v1/models                    list models
GET  /v1/pools                     list worker pools (operators)
GET  /openapi.json                 every route, for machines
GET  /healthz, /readyz             health of this process

Everything under /v1 needs the header `Authorization: Bearer <key>`.
"""


class Health(BaseModel):
    """Health of the process."""

    status: Literal["ok", "degraded"] = Field(
        "ok", description="`degraded`: jobs run, but files can be neither sent nor downloaded"
    )
    redis: str | None = Field(None, description="`ok`; null where it was not checked")
    bucket: str | None = Field(None, description="`ok`, or the fault; null where it was not checked")


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
    """Answers 503 without Redis. Without the bucket jobs can still be read, canceled and submitted without files."""
    jobs = services().jobs
    jobs.ledger.ready()
    jobs.broker.prove(jobs.ledger.redis)
    try:
        jobs.storage.check()
    except StorageUnavailable as error:
        log.warning("degraded: %s", error.detail)
        return answer(Health(status="degraded", redis="ok", bucket=error.detail))
    return answer(Health(redis="ok", bucket="ok"))
