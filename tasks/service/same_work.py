"""The digest of a request's work at submit, where all contents and the weights' version are known by then.

It reads no file of a caller; a worker computes the digest after the fetch where this cannot.
"""

from collections.abc import Mapping

from pydantic import BaseModel

from tasks import inputs, same_work
from tasks.registry import Model
from tasks.service.intake import File

UNKNOWN = ""
"""The digest of a job whose work only a worker can tell."""


def digest_at_submit(model: Model, of_kind: BaseModel, params: BaseModel, files: Mapping[str, File]) -> str:
    """The digest of the work; UNKNOWN where a content or the weights' version is not known yet."""
    version = same_work.of_weights(model)
    contents = _contents(of_kind, files)
    if version is None or contents is None:
        return UNKNOWN
    given = params.model_dump(mode="json", exclude_unset=True)
    return same_work.digest(model.kind, model.name, version, given, contents)


def _contents(of_kind: BaseModel, files: Mapping[str, File]) -> dict[str, str] | None:
    """The content of each input that was given; None where one lies elsewhere."""
    kind, contents = type(of_kind), {}
    for name, value in of_kind.model_dump(mode="json", exclude_unset=True).items():
        if value is None:
            continue
        if inputs.limits_of(kind, name) is None or inputs.is_text(kind, name) and isinstance(value, str):
            contents[name] = same_work.of_value(kind, name, value)
            continue
        source = value["url"] if isinstance(value, dict) else value
        file = files.get(source.removeprefix("upload:")) if isinstance(source, str) else None
        if file is None:
            return None
        contents[name] = same_work.of_file(file.sha256)
    return contents
