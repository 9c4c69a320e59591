"""Builds the Flask app, which keeps nothing from one request to the next. The bridge in front of it (server/bridge.py)
holds, bounds and times requests.

    python -m api --port 8080

Flask is imported inside `create_app` only, so that the client and the command line start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.dispatch import Api
    from tasks.settings import Settings


def create_app(settings: Settings | None = None) -> Api:
    """The Flask app for these settings, or for those of the environment. Makes no connection yet. Errors:
    Misconfigured."""
    from api import audit, auth, browsers, openapi, problems, strict
    from api.dispatch import Api
    from api.keyring import Keys
    from api.request_logs import Logs
    from api.services import Services
    from api.v1 import (
        batches,
        dead_letters,
        events,
        explanations,
        health,
        jobs,
        keys,
        limits,
        logs,
        models,
        pauses,
        pools,
        schedules,
        tenants,
        uploads,
        usage,
        webhooks,
    )
    from tasks.service.jobs import Jobs
    from tasks.settings import Settings

    settings = settings or Settings.of_environment()
    app = Api("backlot", static_folder=None)
    app.url_map.merge_slashes = False
    app.config.update(MAX_CONTENT_LENGTH=settings.upload_max_bytes)
    request_logs = Logs(settings)
    app.services = app.extensions["backlot"] = Services(
        settings, Keys(settings.keys_file), Jobs.of(settings), request_logs
    )
    audit.register(app, request_logs)
    problems.register(app)
    browsers.register(app, settings)
    app.before_request(auth.check_key)
    app.after_request(auth.note_use)
    app.before_request(strict.check)
    for resource in (
        jobs,
        batches,
        schedules,
        events,
        explanations,
        logs,
        dead_letters,
        uploads,
        webhooks,
        models,
        limits,
        usage,
        keys,
        tenants,
        pools,
        pauses,
        health,
        openapi,
    ):
        app.register_blueprint(resource.routes)
    return app
