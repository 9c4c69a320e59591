"""The API in this process with its callers, as tests/api has them."""

from tests.api.conftest import acme, app, caller, hand, operator, rival  # noqa: F401
