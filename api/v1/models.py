"""Models over HTTP: lists them, and shows the contract of each as JSON Schema."""

import functools
from typing import Any, Literal

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from api.answers import answer, services
from tasks.errors import NotFound, UnknownModel
from tasks.inputs import limits_of
from tasks.registry import Model, contract

routes = Blueprint("models", __name__, url_prefix="/v1/models")


class ModelLimits(BaseModel):
    """Limits of one job of the model. Times are seconds of one attempt."""

    run_timeout_s: float = Field(description="computing: default and maximum of a job's `run_timeout_s`")
    fetch_timeout_s: float = Field(description="fetching inputs")
    load_timeout_s: float = Field(description="loading the model")
    batch_timeout_s: float = Field(description="waiting for the model, which is busy with other jobs")
    upload_timeout_s: float = Field(description="uploading outputs")
    memory_mb: int = Field(description="resident memory of the process that runs it, in MiB")
    input_bytes: dict[str, int] = Field(description="bytes of each file or text input")


class ModelCard(BaseModel):
    """A model that jobs can name."""

    object: Literal["model"] = "model"
    kind: str = Field(description="kind of job that it runs")
    name: str = Field(description="name, unique within the kind")
    description: str = Field(description="a sentence for a person")
    pool: str = Field(description="worker pool that runs it")
    default: bool = Field(description="true where jobs of the kind that name no model get this one")
    limits: ModelLimits


class ModelDetail(ModelCard):
    """A model and its contract."""

    inputs: dict[str, Any] = Field(description="JSON Schema of `input`")
    params: dict[str, Any] = Field(description="JSON Schema of the `params` that this model takes")
    result: dict[str, Any] = Field(description="JSON Schema of `result`")


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelCard] = Field(description="models of all kinds")


@routes.get("")
def list_models() -> Response:
    return answer(ModelList(data=[ModelCard(**_card(model)) for model in services().jobs.registry.models]))


@routes.get("/<kind>/<name>")
def get(kind: str, name: str) -> Response:
    try:
        model = services().jobs.registry.model(kind, name)
    except UnknownModel as error:
        raise NotFound(error.detail) from error
    return answer(ModelDetail(**_card(model), **_schemas(model.kind, model.algorithm)))


def _card(model: Model) -> dict[str, Any]:
    inputs = contract(model.kind).inputs
    limits = {name: limits.max_bytes for name in inputs.model_fields if (limits := limits_of(inputs, name))}
    return {
        "kind": model.kind,
        "name": model.name,
        "description": model.description,
        "pool": model.pool,
        "default": model.default,
        "limits": ModelLimits(
            **{name: getattr(model, name) for name in ModelLimits.model_fields if name != "input_bytes"},
            input_bytes=limits,
        ),
    }


@functools.cache
def _schemas(kind: str, algorithm: str) -> dict[str, Any]:
    known = contract(kind)
    params = known.params.model_json_schema()
    for name in known.foreign(algorithm):
        del params["properties"][name]
    return {
        "inputs": known.inputs.model_json_schema(),
        "params": params,
        "result": known.result.model_json_schema(mode="serialization"),
    }
