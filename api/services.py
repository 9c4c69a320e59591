"""The objects that all routes share. Knows no route."""

from dataclasses import dataclass

from api.keyring import Keys
from tasks.service.jobs import Jobs
from tasks.settings import Settings


@dataclass(frozen=True)
class Services:
    """Settings, API keys, and what can be done with jobs."""

    settings: Settings
    keys: Keys
    jobs: Jobs
