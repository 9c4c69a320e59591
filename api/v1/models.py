"""Models over HTTP: what can be asked for, and the contract of each kind as JSON Schema."""

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
    """What one job of the model may take."""

    run_timeout_s: float = Field(description="default and maximum of the model's turn alone")
    fetch_timeout_s: float
    load_timeout_s: float
    batch_timeout_s: float = Field(description="its turn at the model is waited for so long")
    upload_timeout_s: float
    memory_mb: int
    input_bytes: dict[str, int] = Field(description="of each file or text input, as fetched")


class ModelCard(BaseModel):
    """A model, without its schemas."""

    object: Literal["model"] = "model"
    kind: str
    name: str
    description: str
    pool: str
    default: bool = Field(description="taken where a job of the kind names none")
    limits: ModelLimits


class ModelDetail(ModelCard):
    """A model and its kind's contract, each part a JSON Schema; of the params, those that this model takes."""

    inputs: dict[str, Any]
    params: dict[str, Any]
    result: dict[str, Any]


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


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
