"""The generated parts of docs/, written by `make docs`: settings, error codes, warning codes, models.

It reads the descriptions of tasks/settings.py, the docstrings of tasks/errors.py, the statuses of api/problems.py, the
kinds' contracts, and models.toml with models.hub.toml. It knows nothing of a running service, and no process of the
service imports it.

A page holds a generated part between `<!-- generated: NAME -->` and `<!-- end -->`; all else in the page is written by
hand. tests/test_docs.py fails where a page differs from what would be written here.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from api.problems import HTTP_ALONE, STATUS
from tasks import errors
from tasks.registry import KINDS, Registry, contract
from tasks.settings import Settings

ROOT = Path(__file__).parent.parent
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
GROUPS = {
    "redis_url": "Redis",
    "s3_endpoint_url": "The bucket, and the sources of inputs",
    "models": "Models and pools",
    "upload_max_bytes": "Limits of a job",
    "keys_file": "API keys, and limits of a tenant",
    "cors_origins": "The API over HTTP",
    "lease_s": "Workers and the keeper",
    "audit_log": "Logs and metrics",
}
"""Sections of docs/settings.md, each by the first setting of it, in the order of tasks/settings.py."""
ACTORS = {errors.CallerError: "caller", errors.OperatorError: "operator", errors.Stopped: "nobody"}


def main() -> None:
    """Write every page that has a generated part."""
    for path in pages():
        path.write_text(written(path))


def pages() -> list[Path]:
    """The pages with a generated part."""
    return [path for path in sorted(ROOT.glob("docs/*.md")) if PART.search(path.read_text())]


def written(path: Path) -> str:
    """The text that the page should have. Errors: KeyError, with the name of a part that nothing generates."""
    made = {"settings": settings, "errors": error_codes, "models": models, "hub": hub_models, "warnings": warnings}
    return PART.sub(lambda part: f"{part[1]}\n{made[part[2]]()}\n{part[3]}", path.read_text())


def settings() -> str:
    """A section a group, a row a setting."""
    sections: list[tuple[str, list[tuple[str, ...]]]] = []
    for name, setting in Settings.model_fields.items():
        if name in GROUPS:
            sections.append((GROUPS[name], []))
        sections[-1][1].append((f"`BACKLOT_{name.upper()}`", _default(setting), setting.description or ""))
    return "\n".join(f"## {title}\n\n{_table(('Variable', 'Default', 'Meaning'), rows)}" for title, rows in sections)


def error_codes() -> str:
    """A row a code: those of classes in the order of tasks/errors.py, then those of HTTP alone."""
    ours = [
        (f"`{error.code}`", _status(error), "yes" if error.retryable else "no", _actor(error), _meaning(error))
        for error in _classes(errors.BacklotError)
        if "code" in vars(error)
    ]
    alone = [(f"`{code}`", str(status), "no", _by(status), meaning) for code, (status, meaning) in HTTP_ALONE.items()]
    return _table(("Code", "HTTP status", "Retryable", "Who acts", "Meaning"), [*ours, *alone])


def warnings() -> str:
    """A row a code of each kind's WARNINGS."""
    rows = [(f"`{kind}`", f"`{code}`", said) for kind in KINDS for code, said in contract(kind).warnings.items()]
    return _table(("Kind", "Code", "Meaning"), rows)


def models() -> str:
    """A row a model that ships."""
    return _models(Registry.default())


def hub_models() -> str:
    """A row a model whose weights an operator fetches."""
    return _models(Registry.read(ROOT / "tasks" / "models.hub.toml"))


def _models(registry: Registry) -> str:
    rows = [
        (
            f"`{model.kind}`",
            f"`{model.name}`{' (default)' if model.default else ''}",
            model.pool,
            f"`{model.algorithm}`",
            model.description,
        )
        for model in registry.models
    ]
    return _table(("Kind", "Model", "Pool", "Algorithm", "Description"), rows)


def _classes(error: type[errors.BacklotError]) -> Iterator[type[errors.BacklotError]]:
    """The subclasses that tasks/errors.py has, in the order of the tree drawn there."""
    for sub in error.__subclasses__():
        if sub.__module__ == errors.__name__:
            yield sub
            yield from _classes(sub)


def _status(error: type[errors.BacklotError]) -> str:
    found = next((STATUS[above] for above in error.__mro__ if above in STATUS), None)
    return str(found) if found else "in jobs alone"


def _actor(error: type[errors.BacklotError]) -> str:
    return next(actor for middle, actor in ACTORS.items() if issubclass(error, middle))


def _by(status: int) -> str:
    return "caller" if status < 500 else "operator"


def _meaning(error: type[errors.BacklotError]) -> str:
    return " ".join((error.__doc__ or "").split())


def _default(setting: FieldInfo) -> str:
    value = setting.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, list | dict):
        value = ",".join(value)
    return "unset" if value in (None, "") else f"`{value}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
