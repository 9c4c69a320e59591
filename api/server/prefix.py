"""Puts a trusted proxy's path prefix (X-Forwarded-Prefix, wire.py) before our own paths in answers: links, output URLs,
Location. Records and logs never have it.
"""

from typing import Any, TypeVar

from flask import Flask, Response, request
from pydantic import BaseModel

from tasks.job import Job

Body = TypeVar("Body", bound=BaseModel)


def register(app: Flask) -> None:
    """Prefixes the Location of this app's answers, where it is a path of ours."""

    @app.after_request
    def locate(answer: Response) -> Response:
        if answer.headers.get("Location", "").startswith("/"):
            answer.headers["Location"] = request.script_root + answer.headers["Location"]
        return answer


def prefixed(body: Body) -> Body:
    """The body with the request's prefix in the links of a job, or of each job in its `data`."""
    if not request.script_root:
        return body
    if isinstance(body, Job):
        return body.model_copy(update=_paths(body, request.script_root))
    jobs = getattr(body, "data", None)
    if isinstance(jobs, list) and jobs and isinstance(jobs[0], Job):
        return body.model_copy(
            update={"data": [job.model_copy(update=_paths(job, request.script_root)) for job in jobs]}
        )
    return body


def _paths(job: Job, prefix: str) -> dict[str, Any]:
    """The fields of a job that hold paths, prefixed."""
    links = job.links.model_copy(update={name: prefix + path for name, path in job.links})
    outputs = [output.model_copy(update={"url": prefix + output.url}) for output in job.outputs]
    return {"links": links, "outputs": outputs}
