"""HTTP in, HTTP out: the app is put together here and nowhere else.

    gunicorn --worker-class api.server.Worker --threads 16 'api:create_app()'

Flask is imported inside `create_app` only, so that the client and the command line start fast.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from api.auth import Keys
    from tasks.jobs import Jobs
    from tasks.settings import Settings


@dataclass(frozen=True)
class Services:
    """What the routes work with. `waiting` holds a place for each request that may wait at one time."""

    settings: Settings
    keys: Keys
    jobs: Jobs
    waiting: threading.Semaphore


def create_app(settings: Settings | None = None) -> Flask:
    """The API for these settings, or for those of the environment. Makes no connection yet."""
    from flask import Flask

    from api import (
        audit,
        auth,
        browsers,
        dead_letters,
        health,
        jobs,
        keys,
        models,
        openapi,
        pools,
        problems,
        strict,
        tenants,
        uploads,
    )
    from tasks.jobs import Jobs
    from tasks.settings import Settings

    settings = settings or Settings.of_environment()
    app = Flask("backlot", static_folder=None)
    app.url_map.merge_slashes = False
    app.config.update(MAX_CONTENT_LENGTH=settings.upload_max_bytes)
    app.extensions["backlot"] = Services(
        settings, auth.Keys(settings.keys_file), Jobs.of(settings), threading.Semaphore(settings.http_threads // 2))
    audit.register(app, settings)
    problems.register(app)
    browsers.register(app)
    app.before_request(auth.check_key)
    app.before_request(strict.check)
    for resource in (jobs, dead_letters, uploads, models, keys, tenants, pools, health, openapi):
        app.register_blueprint(resource.routes)
    return app
