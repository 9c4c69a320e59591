"""Fills .venv with the packages of pyproject.toml at the versions of constraints.txt: `install.py base,torch,dev`.

Three sets, so that the stack can start while the largest is still on its way: `base` is the service
and its workers, `torch` what the networks need, `dev` what the tests need. A set already there costs
nothing. Standard library only, since it runs before anything is installed. Knows nothing of services.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

from deploy.local.companions import mend

ROOT = Path(__file__).resolve().parents[2]
PINS = ("-c", "constraints.txt")
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
COMPANIONS = ("torchvision", "torchaudio")
LOG = Path(".backlot/log")
OURS = ("api", "tasks", "worker")
UNUSED = r"[\\/](tests?|testing)[\\/]"
"""Folders of packages that no process of the service imports."""


class Failed(Exception):
    """An installation that did not come about; the message is for the person who asked for it."""


def main(names: str) -> None:
    """Install the named sets that are not there yet; exits with one line where that fails."""
    os.chdir(ROOT)
    for name in names.split(","):
        try:
            ensure(name)
        except Failed as failure:
            sys.exit(f"{failure}\nThe whole story: {_log(name)}")


def ensure(name: str) -> None:
    """Install a set unless its stamp says that it is there; errors: Failed, and KeyError for a name that is no set."""
    stamp = Path(sys.prefix, f"backlot-{name}.stamp")
    if _installed(stamp):
        return
    LOG.parent.mkdir(mode=0o700, exist_ok=True)
    LOG.mkdir(exist_ok=True)
    with _alone():
        if _installed(stamp):
            return
        print(f"installing {DESCRIPTIONS[name]} ...", file=sys.stderr, flush=True)
        start = time.monotonic()
        _have_uv(name)
        SETS[name]()
        _compile(name)
        stamp.write_text(fingerprint())
        print(f"  done in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def present(name: str) -> bool:
    """Whether the set is there in the versions asked for."""
    return _installed(Path(sys.prefix, f"backlot-{name}.stamp"))


def fingerprint() -> str:
    """Changes when the packages asked for do, when the checkout moves (an environment names its own path), or with this
    file."""
    files = ("pyproject.toml", "constraints.txt", __file__)
    parts = [*(Path(name).read_bytes() for name in files), os.fsencode(ROOT)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install_base() -> None:
    _install("base", "-e", ".[worker,local]")


def install_torch() -> None:
    """PyTorch; where Linux has no GPU, its build for CPUs, since the default one brings 3 GB of CUDA libraries."""
    if sys.platform == "linux" and not shutil.which("nvidia-smi"):
        _install_torch_for_cpu()
    if sys.platform == "darwin" and platform.machine() != "arm64":
        raise Failed("PyTorch is no longer built for Intel Macs; its models cannot run on this machine.")
    _install("torch", *_extra("torch"))


def install_dev() -> None:
    _install("dev", *_extra("dev"), *_extra("train"), *_extra("bench"))


SETS = {"base": install_base, "torch": install_torch, "dev": install_dev}
DESCRIPTIONS = {"base": "the service and its workers", "torch": "PyTorch (a few hundred MB)", "dev": "the test tools"}


def _install_torch_for_cpu() -> None:
    """The `+cpu` versions by name, without their dependencies: nothing but a build for CPUs can satisfy that.

    They are looked for in the folders that PIP_FIND_LINKS or UV_FIND_LINKS names, then in PyTorch's own index. Where
    torch alone was found, its companions come from PyPI and are mended.
    """
    named = "PIP_FIND_LINKS" in os.environ or "UV_FIND_LINKS" in os.environ
    sources = [(), ("--index-url", TORCH_CPU_INDEX)] if named else [("--index-url", TORCH_CPU_INDEX)]
    source = next((s for s in sources if _could_install(s, "torch")), None)
    if source is None:
        raise Failed(
            f"torch=={_pinned('torch')}+cpu was found neither in {TORCH_CPU_INDEX} "
            "nor in the folders of PIP_FIND_LINKS."
        )
    companions = [f"{name}=={_pinned(name)}+cpu" for name in COMPANIONS]
    if not _run(
        "torch",
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "--python",
            sys.executable,
            *PINS,
            "--no-deps",
            *source,
            *companions,
        ],
    ):
        _install("torch", "--no-deps", *COMPANIONS)
        mend(Path(sysconfig.get_path("purelib")))


def _could_install(source: tuple[str, ...], package: str) -> bool:
    with contextlib.suppress(Failed):
        _install("torch", "--no-deps", *source, f"{package}=={_pinned(package)}+cpu")
        return True
    return False


def _install(name: str, *what: str) -> None:
    """By uv, which takes seconds; by pip where uv fails (pip.conf may name indexes that uv does not read)."""
    python = sys.executable
    if _run(name, [python, "-m", "uv", "pip", "install", "--python", python, *PINS, *what]):
        return
    print("  uv could not install them; trying pip, which is slower and reads pip.conf", file=sys.stderr)
    if not _run(name, [python, "-m", "pip", "install", *PINS, *what]):
        raise Failed(f"Could not install {DESCRIPTIONS[name]}: {_last_error(name)}")


def _compile(name: str) -> None:
    """Compile to bytecode what is not compiled yet: uv does not, and where PYTHONDONTWRITEBYTECODE is set or the folder
    is read-only no process could, so that each would compile all it imports (torch: 2 s) at each start.

    A file that is no Python of this version is skipped.
    """
    folders = [sysconfig.get_path("purelib"), *OURS]
    _run(name, [sys.executable, "-m", "compileall", "-q", "-j", "0", "-x", UNUSED, *folders])


def _have_uv(name: str) -> None:
    """uv in the pinned version, installed by pip; a platform that uv does not serve goes on with pip alone."""
    if importlib.util.find_spec("pip") is None:  # a `python -m venv` that was interrupted
        _run(name, [sys.executable, "-m", "ensurepip"])
    if not _run(name, [sys.executable, "-m", "uv", "--version"]):
        _run(name, [sys.executable, "-m", "pip", "install", *PINS, "uv"])


def _run(name: str, command: list[str]) -> bool:
    env = dict(os.environ)
    if "PIP_FIND_LINKS" in env:
        env.setdefault("UV_FIND_LINKS", env["PIP_FIND_LINKS"])
    if not os.access(os.path.expanduser("~"), os.W_OK):  # a system user: uv would fail on its cache
        env.setdefault("UV_NO_CACHE", "1")
    with _log(name).open("a") as log:
        print("$", *command, file=log, flush=True)
        return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode == 0


def _extra(name: str) -> list[str]:
    """The requirements of an extra of pyproject.toml, as they stand there."""
    wanted: list[str] = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"][name]
    return wanted


def _pinned(package: str) -> str:
    lines = Path("constraints.txt").read_text().splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{package}=="))


def _installed(stamp: Path) -> bool:
    return stamp.exists() and stamp.read_text() == fingerprint()


def _log(name: str) -> Path:
    return LOG / f"install-{name}.log"


def _last_error(name: str) -> str:
    lines = [line.strip() for line in _log(name).read_text().splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.lower().startswith("error")), lines[-1])


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One installation at a time in one environment; the next waits here."""
    with Path(sys.prefix, "backlot-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main(sys.argv[1])
