"""Puts a trusted proxy's path prefix (X-Forwarded-Prefix, wire.py) before our own paths in answers: links, output URLs,
Location. Records and logs never have it.
"""

from typing import Any, TypeVar

from pydantic import BaseModel

from tasks.batch import Batch
from tasks.job import Job

Body = TypeVar("Body", bound=BaseModel)


def located(headers: dict[str, str] | None, prefix: str) -> dict[str, str] | None:
    """The headers of an answer with the prefix in their Location, where that is a path of ours."""
    if headers is None or not headers.get("Location", "").startswith("/"):
        return headers
    return {**headers, "Location": prefix + headers["Location"]}


def prefixed(body: Body, prefix: str) -> Body:
    """The body with the prefix in the links of a job or a batch, or of each in its `data`."""
    if isinstance(body, Job):
        return body.model_copy(update=_paths(body, prefix))
    if isinstance(body, Batch):
        return body.model_copy(update=_paths(body, prefix))
    rows = getattr(body, "data", None)
    if isinstance(rows, list) and rows and isinstance(rows[0], Job | Batch):
        return body.model_copy(update={"data": [row.model_copy(update=_paths(row, prefix)) for row in rows]})
    return body


def _paths(job: Job | Batch, prefix: str) -> dict[str, Any]:
    """The fields of a job or a batch that hold paths, prefixed."""
    links = job.links.model_copy(update={name: prefix + path for name, path in job.links})
    if isinstance(job, Batch):
        return {"links": links}
    outputs = [output.model_copy(update={"url": prefix + output.url}) for output in job.outputs]
    return {"links": links, "outputs": outputs}
