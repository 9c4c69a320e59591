"""The registry: each kind's contract, and the models of models.toml. Loads no algorithm."""

import importlib.util
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tasks import inputs
from tasks.errors import UnknownModel
from tasks.models_file import Misconfigured, ModelsFile, like
from tasks.pools import DEFAULT, PoolName

log = logging.getLogger(__name__)

Kind = Literal["recommend", "transcribe", "caption", "generate"]
"""Each is a folder of tasks/; this is the one place that lists them."""
KINDS: tuple[Kind, ...] = get_args(Kind)
ELSEWHERE = re.compile(r"^(?:hf://[\w.-]+/[\w.-]+@[\w./-]+|s3://[a-z0-9][a-z0-9.-]+/.+)$")
"""Weights that must be fetched: a model of the Hugging Face hub at a revision, or a folder of a bucket."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


RetryCause = Literal["worker_lost", "storage_unavailable", "input_unreachable", "model_failed"]
"""Error codes that may have a retry budget. `timeout` and `out_of_memory` may not: they end shared processes."""
RetryBudgets = dict[RetryCause, Annotated[int, Field(ge=0, le=20)]]
"""Retries by error code."""


@dataclass(frozen=True)
class Contract:
    """A kind as callers see it: the pydantic models of its inputs, params and result."""

    kind: str
    inputs: type[BaseModel]
    params: type[BaseModel]
    result: type[BaseModel]
    only: Mapping[str, tuple[str, ...]]
    """Params that some algorithms alone take, and which."""
    warnings: Mapping[str, str]
    """Codes of the warnings that a result may have, each with its meaning."""
    text: str | None
    """The field of a result that is the text for a job that names this one as its source."""
    foreseen: "Foreseen"
    """Reasons for which a job would fail for certain, by its request and its model alone."""

    def foreign(self, algorithm: str) -> set[str]:
        """The params that an algorithm does not take. An operator's own (a dotted name) may take them all."""
        return set() if "." in algorithm else {name for name, takers in self.only.items() if algorithm not in takers}

    def is_file(self, name: str) -> bool:
        return name in self.inputs.model_fields and inputs.is_file(self.inputs, name)


@cache
def contract(kind: str) -> Contract:
    """The contract in tasks/<kind>/__init__.py; errors: UnknownModel."""
    if kind not in KINDS:
        raise UnknownModel(f"there is no kind {kind!r}; kinds are {', '.join(KINDS)}")
    module = importlib.import_module(f"tasks.{kind}")
    only, text = getattr(module, "ONLY", {}), getattr(module, "TEXT", None)
    foreseen = getattr(module, "foreseen", _nothing)
    return Contract(kind, module.Inputs, module.Params, module.Result, only, module.WARNINGS, text, foreseen)


class Model(BaseModel):
    """An entry of models.toml. Times in seconds, memory in MiB.

    `algorithm` is a file of tasks/<kind>/, or the dotted name of an operator's own module.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Kind
    name: Name
    algorithm: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,99}$")]
    description: str = ""
    pool: PoolName = "cpu"
    default: bool = False
    weights: str | None = Field(None, description="a folder, or hf://org/name@revision, or s3://bucket/prefix")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="of model.safetensors, checked where given")
    run_timeout_s: float = Field(900, ge=1, description="default and maximum of the model's turn alone")
    fetch_timeout_s: float = Field(1800, ge=1, description="how long fetching a job's inputs may take")
    load_timeout_s: float = Field(300, ge=1, description="how long its loading may take")
    batch_timeout_s: float = Field(
        300,
        ge=1,
        description="how long its turn at the model is waited for; then the job "
        "goes back into its line, which counts nowhere",
    )
    upload_timeout_s: float = Field(900, ge=1, description="how long uploading a job's outputs may take")
    memory_mb: int = Field(4096, gt=0, description="resident memory of the process that runs it alone, MiB")
    batch: int = Field(1, ge=1, le=256, description="jobs in one forward pass")
    batch_wait_ms: float = Field(0, ge=0, le=1000, description="how long a lone job waits for company")
    retry: RetryBudgets = Field({}, description="retries by error code, where a job's own `retry` does not name it")
    preload: bool = Field(False, description="loaded when a process of its pool starts, beside its first jobs")

    @field_validator("weights")
    @classmethod
    def _weights_lie_somewhere(cls, value: str | None) -> str | None:
        if value and "://" in value and not ELSEWHERE.match(value):
            raise ValueError("weights are a folder, hf://org/name@revision or s3://bucket/prefix")
        return value

    @model_validator(mode="after")
    def _a_hash_is_of_something(self) -> "Model":
        if self.sha256 and not self.weights:
            raise ValueError("sha256 is given without weights")
        return self

    @property
    def key(self) -> str:
        """Unique among all models."""
        return f"{self.kind}/{self.name}"

    def weights_path(self) -> Path | None:
        """The folder of weights that lie on this machine, a relative one meant from tasks/<kind>/weights; None
        where there are none. Those that lie elsewhere, weights.py brings here."""
        if self.weights is None or ELSEWHERE.match(self.weights):
            return None
        return Path(__file__).parent / self.kind / "weights" / self.weights


Foreseen = Callable[[Any, Any, Model], Iterable[tuple[str, str]]]
"""Function of a kind's inputs, params and model: the JSON pointer and the sentence of each reason."""


def _nothing(inputs: object, params: object, model: Model) -> Iterable[tuple[str, str]]:
    return ()


class Registry:
    """The models an installation offers, in the order of its file."""

    def __init__(
        self, models: Sequence[Model], pools: Collection[str] = tuple(DEFAULT), written: ModelsFile | None = None
    ) -> None:
        self.models = tuple(_placed(model, pools) for model in models)
        self.pools = tuple(pools)
        self._written = written

    @classmethod
    def read(cls, path: Path, pools: Collection[str] = tuple(DEFAULT)) -> "Registry":
        """The models of a TOML file; errors: Misconfigured, a ValueError with file, line and key of each mistake.

        A model whose pool `pools` lacks moves to the first of them, with a warning in the log.
        """
        written = ModelsFile.read(path)
        try:
            models = _File.model_validate(written.tables).model
        except ValidationError as error:
            raise written.faults(error, Model.model_fields) from None
        wrong = [written.fault(*one) for one in _twice(models)]
        if wrong:
            raise Misconfigured("\n".join(wrong))
        registry = cls(models, pools, written)
        for asked, given in zip(models, registry.models, strict=True):
            if asked.pool != given.pool:
                log.warning("%s: BACKLOT_POOLS lacks the pool %s: runs on %s", asked.key, asked.pool, given.pool)
        return registry

    @classmethod
    def default(cls) -> "Registry":
        return cls.read(Path(__file__).parent / "models.toml")

    def absent(self, pool: str | None = None) -> list[str]:
        """Algorithms and weight folders that entries (of one pool) name and this machine lacks: one line each, with its
        place in the file. Imports no model code."""
        found = []
        for number, model in enumerate(self.models):
            if pool not in (None, model.pool):
                continue
            if not _is_there(module := module_of(model.kind, model.algorithm)):
                found.append((number, "algorithm", f"there is no module {module}{like(module, _modules(model.kind))}"))
            if (folder := model.weights_path()) and not folder.exists():
                found.append((number, "weights", f"there is nothing at {folder}"))
        return [
            self._written.fault(*one) if self._written else f"{self.models[one[0]].key}: {one[1]}: {one[2]}"
            for one in found
        ]

    @cached_property
    def by_key(self) -> dict[str, Model]:
        return {model.key: model for model in self.models}

    @cached_property
    def _defaults(self) -> dict[str, Model]:
        return {model.kind: model for model in self.models if model.default}

    def model(self, kind: str, name: str | None = None) -> Model:
        """The named model, or the kind's default; errors: UnknownModel, which lists what there is."""
        chosen = self._defaults.get(kind) if name is None else self.by_key.get(f"{kind}/{name}")
        if chosen is None:
            of_kind = [m for m in self.models if m.kind == contract(kind).kind]
            asked = f"no default model of {kind}" if name is None else f"no {kind} model {name!r}"
            raise UnknownModel(f"there is {asked}; there are {', '.join(m.name for m in of_kind) or 'none'}")
        return chosen


class _File(BaseModel):
    """models.toml as a whole."""

    model_config = ConfigDict(extra="forbid")
    model: list[Model] = []


def module_of(kind: str, algorithm: str) -> str:
    """The module of an algorithm: a file of the kind's folder or, for a dotted name, that module itself."""
    return algorithm if "." in algorithm else f"tasks.{kind}.{algorithm.replace('-', '_')}"


def _twice(models: Sequence[Model]) -> Iterator[tuple[int, str, str]]:
    """(number of the entry, key, sentence) of what only one entry may be."""
    for number, model in enumerate(models):
        before = models[:number]
        if any(other.key == model.key for other in before):
            yield number, "name", f"there is more than one model {model.key}"
        if model.default and any(other.default and other.kind == model.kind for other in before):
            yield number, "default", f"there is more than one default model of kind {model.kind}"


def _is_there(module: str) -> bool:
    """True where the module can be found; imports at most its parent packages."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
        for part in rest:
            if spec is None or spec.submodule_search_locations is None:
                return False
            spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
    except (ImportError, ValueError):
        return False
    return spec is not None


def _modules(kind: str) -> list[str]:
    return [f"tasks.{kind}.{path.stem}" for path in (Path(__file__).parent / kind).glob("[a-z]*.py")]


def _placed(model: Model, pools: Collection[str]) -> Model:
    """The model; on the deployment's first pool where the deployment lacks the model's own."""
    return model if model.pool in pools else model.model_copy(update={"pool": next(iter(pools))})
