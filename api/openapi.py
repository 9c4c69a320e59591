"""The OpenAPI 3.1 document, generated from the very models that validate."""

from flask import Blueprint

routes = Blueprint("openapi", __name__)
