"""An ended job's request as a new job's, changed by a JSON merge patch (RFC 7396). It records nothing."""

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import JsonValue, ValidationError

from tasks.errors import InvalidRequest
from tasks.job import Fixed, moment
from tasks.registry import Model, Registry, contract
from tasks.request import check_free_part, check_model, invalid, request_of
from tasks.request_shapes import RetryRequest
from tasks.service.clocks import clocks_of
from tasks.settings import Settings

CLOCKS = ("queue_ttl_s", "run_timeout_s", "deadline_s", "retention_s", "max_attempts", "retry")
"""Fields of a request that bound its time and its attempts."""


def anew(
    old: Fixed, job_id: str, registry: Registry, s: Settings, patch: RetryRequest | None = None, key: str | None = None
) -> Fixed:
    """The new job. Its `changed` is the difference to the old request, where a patch made one. `key`: id of the API
    key that asks for it.

    Errors: UnknownModel; InvalidRequest, TooLarge for params or clocks that cannot be.
    """
    given = patch.model_fields_set if patch else set()
    model = registry.model(old.kind, patch.model if patch and "model" in given else old.model)
    update: dict[str, Any] = {
        "id": job_id,
        "model": model.name,
        "pool": model.pool,
        "start_ms": None,
        "retry_of": old.id,
        "batch": None,
        "custom_id": None,
        "schedule": None,
        "cache": None,
        "run_timeout_s": _run_timeout_s(old, model, registry, s),
        "changed": None,
        "key": key,
    }
    if patch and given:
        update |= _patched(old, patch, model, s)
    fixed = old.model_copy(update=update)
    if not given:
        return fixed
    start = {"start_at": moment(fixed.start_ms).isoformat()} if fixed.start_ms else {}
    return fixed.model_copy(update={"changed": difference(_told(old), _told(fixed) | start) or None})


def told(patch: RetryRequest | None) -> tuple[str, ...]:
    """The content of a patch that an Idempotency-Key's fingerprint covers; nothing where there is none."""
    if patch is None or not patch.model_fields_set:
        return ()
    return (json.dumps(patch.model_dump(mode="json", exclude_unset=True), sort_keys=True),)


def merged(target: JsonValue, patch: JsonValue) -> JsonValue:
    """The target after a merge patch (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made


def difference(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The merge patch that makes `new` of `old`."""
    made: dict[str, JsonValue] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            made |= {name: within} if (within := difference(before, value)) else {}
        elif name not in old or json.dumps(before) != json.dumps(value):
            made[name] = value
    return made


def _patched(old: Fixed, patch: RetryRequest, model: Model, s: Settings) -> dict[str, Any]:
    """The fields that the patch changes, after all checks of a submit."""
    given, known = patch.model_fields_set, contract(old.kind)
    params = merged(old.params, patch.params or {}) if patch.params is not None or "params" not in given else {}
    try:
        of_kind = known.params.model_validate_json(json.dumps(params), strict=True)
    except ValidationError as error:
        found = invalid(error, params).errors
        raise InvalidRequest([{**one, "pointer": "/params" + one["pointer"]} for one in found]) from error
    request = request_of(old.kind).model_construct(
        metadata=old.metadata, start_at=patch.start_at, **{name: getattr(patch, name) for name in CLOCKS}
    )
    of_inputs: Any = known.inputs.model_construct(None, **old.input)
    request.input, request.params = of_inputs, cast(Any, of_kind)
    if "deadline_s" not in given:
        request.deadline_s = old.deadline_s
    if patch.retry:
        request.retry = {**cast(Any, old.retry), **patch.retry}
    check_free_part(request, len(json.dumps(params)) + len(json.dumps(old.metadata)))
    check_model(request, model)
    asked = clocks_of(request, model, s)
    return {
        "params": of_kind.model_dump(mode="json", exclude_unset=True),
        "priority": (patch.priority or 0) if "priority" in given else old.priority,
        "start_ms": asked["start_ms"],
        **{name: asked[name] for name in CLOCKS if name in given},
    }


def _run_timeout_s(old: Fixed, model: Model, registry: Registry, s: Settings) -> float:
    """The old limit, at most the model's; where it was the old model's own, the new model's own."""
    own, longest = registry.by_key.get(f"{old.kind}/{old.model}"), min(model.run_timeout_s, s.max_run_timeout_s)
    was_default = own is not None and own.key != model.key and old.run_timeout_s == own.run_timeout_s
    return longest if was_default else min(old.run_timeout_s, longest)


def _told(fixed: Fixed) -> dict[str, JsonValue]:
    """The parts of the request that a patch may change, without a start time."""
    return {"params": fixed.params, **fixed.model_dump(include={"model", "priority", *CLOCKS}, exclude_none=True)}
