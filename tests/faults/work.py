"""The jobs that scenarios submit: requests for the models of tests/models."""

from tests.faults.accounts import Job


def sleep(pool: str, seconds: float, **limits) -> Job:
    """Sleeps and listens to a stop."""
    return _generate(f"{pool}-sleep", f"{seconds}", limits)


def deaf(pool: str, seconds: float, **limits) -> Job:
    """Sleeps in Python and listens to nothing."""
    return _generate(f"{pool}-deaf", f"{seconds}", limits)


def gil(pool: str, seconds: int, **limits) -> Job:
    """Sleeps in C and holds the GIL."""
    return _generate(f"{pool}-gil", f"{seconds}", limits)


def files(pool: str, text: str, **limits) -> Job:
    """Makes an output."""
    return _generate(f"{pool}-files", text, limits)


def late_files(pool: str, seconds: float, kib: int, mark: str, **limits) -> Job:
    """Sleeps without listening, then makes an output of so many KiB; each run adds a line to the file `mark`."""
    return _generate(f"{pool}-late", f"{seconds} {kib} {mark}", limits)


def noop(pool: str, **limits) -> Job:
    return _generate(f"{pool}-noop", "x", limits)


def poison(pool: str, number: str = "SIGSEGV", **limits) -> Job:
    """Kills its process by that signal."""
    return _generate(f"{pool}-poison", number, limits)


def hog(pool: str, mib: int, **limits) -> Job:
    """Takes so much memory; its model may use 400 MiB where it has a process of its own."""
    return _generate(f"{pool}-hog", f"{mib}", limits)


def _generate(model: str, prompt: str, limits: dict) -> Job:
    return {"kind": "generate", "model": model, "input": {"prompt": prompt}, **limits}
