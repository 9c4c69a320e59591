"""The objects that all routes share. Knows no route."""

from dataclasses import dataclass

from api.keyring import Keys
from api.request_logs import Logs
from tasks.service.jobs import Jobs
from tasks.settings import Settings


@dataclass(frozen=True)
class Services:
    """Settings, API keys, what can be done with jobs, and the logs of requests."""

    settings: Settings
    keys: Keys
    jobs: Jobs
    logs: Logs
