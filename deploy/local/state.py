"""What a stack keeps under .backlot/ so that it comes back as it was: ports, passwords and keys.

Made once, 0600 in a folder of 0700. `.backlot/env` is the same for a shell; `keys.json` holds the API
keys' hashes alone, as the API reads them.
"""

import os
import secrets
import shlex
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from api import keyfile
from deploy.local.servers import LOOPBACK
from tasks.models_file import Misconfigured

ROOT = Path(__file__).resolve().parents[2]
STATE = Path(".backlot")  # from the checkout's root, where every command runs: no path in it needs quoting
CONFIG = STATE / "stack.json"
ENV = STATE / "env"
KEYS = STATE / "keys.json"
LOGS = STATE / "log"
REDIS = STATE / "redis"
S3 = STATE / "s3"
BUCKET = "backlot"
TENANT = "demo"


def _secret() -> str:
    return secrets.token_urlsafe(32)


class Ports(BaseModel):
    """Where each server listens on the loopback address."""

    api: int = 8080
    redis: int = 6380
    s3: int = 9000
    metrics: int = 9095
    api_metrics: int = 9096


class Stack(BaseModel):
    """One checkout's stack: all that must stay the same from one start to the next."""

    ports: Ports = Ports()
    redis_password: str = Field(default_factory=_secret)
    s3_access_key_id: str = Field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_access_key: str = Field(default_factory=_secret)
    api_key: str = ""
    operator_key: str = ""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.api}"

    def settings(self) -> dict[str, str]:
        """The environment that points Backlot's processes at this stack (tasks/settings.py)."""
        endpoint = f"http://{LOOPBACK}:{self.ports.s3}"
        return {
            "BACKLOT_REDIS_URL": f"redis://:{self.redis_password}@{LOOPBACK}:{self.ports.redis}/0",
            "BACKLOT_S3_ENDPOINT_URL": endpoint,
            "BACKLOT_S3_PUBLIC_ENDPOINT_URL": endpoint,
            "BACKLOT_S3_BUCKET": BUCKET,
            "BACKLOT_S3_REGION": "us-east-1",
            "BACKLOT_S3_ACCESS_KEY_ID": self.s3_access_key_id,
            "BACKLOT_S3_SECRET_ACCESS_KEY": self.s3_secret_access_key,
            "BACKLOT_KEYS_FILE": str(ROOT / KEYS),
            "BACKLOT_METRICS_PORT": str(self.ports.metrics),
            "BACKLOT_HTTP_METRICS_PORT": str(self.ports.api_metrics),
        }

    def env(self) -> dict[str, str]:
        """What people and scripts need: the settings, where the API is, and keys for it."""
        callers = {"BACKLOT_URL": self.url, "BACKLOT_API_KEY": self.api_key, "BACKLOT_OPERATOR_KEY": self.operator_key}
        return {**callers, **self.settings()}


def load() -> Stack:
    """The stack of this checkout, as it was last saved or new. Errors: Misconfigured."""
    try:
        return Stack.model_validate_json(CONFIG.read_text()) if CONFIG.exists() else Stack()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]  # secrets stand beside it
        place = ".".join(map(str, first["loc"]))
        raise Misconfigured(f"{CONFIG}: {f'{place}: ' if place else ''}{first['msg']}") from None


def save(stack: Stack) -> Stack:
    """Write all files of the state, with new keys where there is no key file; the stack as it was written."""
    for folder in (STATE, LOGS, REDIS, S3, S3 / BUCKET):
        folder.mkdir(mode=0o700, exist_ok=True)
    if not KEYS.exists():
        stack = stack.model_copy(
            update={
                "api_key": keyfile.add(KEYS, TENANT, "tenant", "local"),
                "operator_key": keyfile.add(KEYS, TENANT, "operator", "local operator"),
            }
        )
    write_private(CONFIG, stack.model_dump_json(indent=2) + "\n")
    write_private(ENV, _shell_lines(stack.env()))
    return stack


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step by one that its owner alone may read."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _shell_lines(env: dict[str, str]) -> str:
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in env.items()]
    return "# To be sourced: . .backlot/env\n" + "".join(lines)
