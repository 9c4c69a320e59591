"""The path in front of ours where a trusted proxy serves us under one (X-Forwarded-Prefix, wire.py): what we say of our
own paths carries it. Records and logs never do.
"""

from typing import TypeVar

from flask import Flask, Response, request
from pydantic import BaseModel

from tasks.job import Job

M = TypeVar("M", bound=BaseModel)


def register(app: Flask) -> None:
    """Put it into the Location of this app's answers, where that is a path of ours."""

    @app.after_request
    def locate(answer: Response) -> Response:
        if answer.headers.get("Location", "").startswith("/"):
            answer.headers["Location"] = request.script_root + answer.headers["Location"]
        return answer


def prefixed(body: M) -> M:
    """The body with the prefix of this request in the links of a job, or of each job in its `data`."""
    if not request.script_root:
        return body
    if isinstance(body, Job):
        return _job(body, request.script_root)
    jobs = getattr(body, "data", None)
    if isinstance(jobs, list) and jobs and isinstance(jobs[0], Job):
        return body.model_copy(update={"data": [_job(job, request.script_root) for job in jobs]})
    return body


def _job(job: Job, prefix: str) -> Job:
    links = job.links.model_copy(update={name: prefix + path for name, path in job.links})
    outputs = [output.model_copy(update={"url": prefix + output.url}) for output in job.outputs]
    return job.model_copy(update={"links": links, "outputs": outputs})
