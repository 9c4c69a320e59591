"""Tenants over HTTP, for operators: requests the erasure of one, and shows its receipt."""

from flask import Blueprint, Response
from pydantic import TypeAdapter, ValidationError

from api.answers import answer, services
from api.auth import caller, require_operator
from api.keyfile import Tenant
from tasks.errors import Conflict, InvalidInput
from tasks.service import erasure

routes = Blueprint("tenants", __name__, url_prefix="/v1/tenants")
TENANT = TypeAdapter(Tenant)


@routes.delete("/<tenant>")
def erase(tenant: str) -> Response:
    """Requests the erasure of a tenant. Errors: Conflict while it has keys, with which it could submit meanwhile."""
    require_operator()
    _check(tenant)
    held = [key.id for key in services().keys.all() if key.tenant == tenant]
    if held:
        raise Conflict(f"the tenant {tenant} has {len(held)} keys yet ({', '.join(held[:5])}); take them back first")
    services().jobs.webhooks.secrets.remove(tenant)
    asked = erasure.ask(services().jobs.storage, tenant, caller().id)
    return answer(asked, 202, {"Location": f"/v1/tenants/{tenant}/erasure", "Retry-After": "5"})


@routes.get("/<tenant>/erasure")
def receipt(tenant: str) -> Response:
    require_operator()
    _check(tenant)
    return answer(erasure.read(services().jobs.storage, tenant))


def _check(tenant: str) -> None:
    try:
        TENANT.validate_python(tenant)
    except ValidationError as error:
        raise InvalidInput("a tenant is named by a-z, 0-9 and -, at most 40 of them") from error
