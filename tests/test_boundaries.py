"""The shape of the code: which way imports run, what the API may load, and lists that must agree with one another."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.ledger import Ledger, keys
from tasks.registry import KINDS, Registry

ROOT = Path(__file__).parent.parent
PACKAGES = ("api", "tasks", "worker")
ALLOWED = {"tasks": {"tasks"}, "api": {"api", "tasks"}, "worker": {"worker", "tasks"}}
HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "sklearn",
    "transformers",
    "tokenizers",
    "safetensors",
    "av",
    "PIL",
    "pocketsphinx",
    "psutil",
    "matplotlib",
)
AT_FIRST_USE = ("boto3", "botocore", "httpx", "obstore", "rich")
"""Modules that the API imports when the bucket is asked first, or never."""
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SCRIPTS = sorted((ROOT / "tasks/ledger/scripts").glob("*.lua"))
SHARED = [path for path in SCRIPTS if path.stem.startswith("_")]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}: imports are absolute"
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_run_one_way(path):
    """api -> tasks <- worker; nothing of the service imports its tests or its installation."""
    ours = {module.partition(".")[0] for module in imported(path)} & {*PACKAGES, "tests", "deploy"}
    assert ours <= ALLOWED[path.relative_to(ROOT).parts[0]]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {dotted(path): path for path in MODULES}


def arrows(tree: ast.AST, functions: bool) -> set[str]:
    """Modules of ours that a module imports: `from a import b` knows a.b where that is a module, else a.

    TYPE_CHECKING's imports count, because a type is knowledge; a function's own count on demand.
    """
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {name.name: f"{node.module}.{name.name}" for name in node.names}
            found |= {full if full in NAMES else node.module for full in inside.values()}
        elif functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= arrows(node, functions)
    return found & {*NAMES}


def circle(graph: dict[str, set[str]]) -> str:
    """One circle, as 'a -> b -> a'; empty where there is none."""
    done: set[str] = set()

    def found(module: str, before: list[str]) -> str:
        if module in before:
            return " -> ".join([*before[before.index(module) :], module])
        if module in done:
            return ""
        round_trip = next((c for to in sorted(graph[module]) if (c := found(to, [*before, module]))), "")
        done.add(module)
        return round_trip

    return next((c for module in graph if (c := found(module, []))), "")


def test_no_modules_import_one_another_in_a_circle():
    """At the level of modules; an import in a function is how a process loads late, and is not counted."""
    graph = {name: arrows(ast.parse(path.read_text()), functions=False) - {name} for name, path in NAMES.items()}
    assert sum(map(len, graph.values())) > 500
    assert circle(graph) == ""


def test_a_circle_of_imports_is_found():
    """The search itself: a circle behind a tail, and none."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}) == "b -> c -> d -> b"
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_no_job_loads_a_training(kind):
    """No module beside training/ imports one inside, wherever in its text."""
    inside = {name for name in NAMES if name.startswith(f"tasks.{kind}.training")}
    for path in (ROOT / "tasks" / kind).glob("*.py"):
        assert not arrows(ast.parse(path.read_text()), functions=True) & inside, named(path)


def test_training_keeps_all_that_no_job_needs():
    """Every module beside training/ is an algorithm, or is imported by a module that jobs load."""
    used = {
        name
        for path in MODULES
        if "training" not in path.parts
        for name in arrows(ast.parse(path.read_text()), functions=True)
    }
    beside = {name: path for name, path in NAMES.items() if path.parent.name in KINDS and path.name != "__init__.py"}
    idle = {name for name, path in beside.items() if not re.search(r"^class Model\(", path.read_text(), re.M)} - used
    assert idle == set()


@pytest.mark.parametrize(
    "path", [p for p in MODULES if {*p.relative_to(ROOT).parts} & {*KINDS} and p.name != "__init__.py"], ids=named
)
def test_an_algorithm_knows_nothing_of_redis_celery_s3_or_http(path):
    """It can be called from a REPL; of Backlot it knows the interface, the errors and its own kind."""
    known = {
        "tasks.algorithm",
        "tasks.errors",
        "tasks.inputs",
        "tasks.recipe",
        "tasks.decoding",
        "tasks.tarball",
        "tasks.text",
        "tasks.warning",
        "tasks.folder",
        "tasks.pretrained",
        f"tasks.{path.relative_to(ROOT).parts[1]}",
    }
    for module in imported(path):
        assert module.partition(".")[0] not in ("redis", "celery", "kombu", "boto3", "botocore", "httpx", "flask")
        if module.startswith("tasks"):
            assert any(module == k or module.startswith(k + ".") for k in known), module


def test_boto3_and_obstore_are_in_one_file_each_and_celery_in_two():
    """Whoever wants to know how Backlot talks to S3 or to Celery has one place to read."""
    users = {
        library: {named(p) for p in MODULES if any(m.partition(".")[0] == library for m in imported(p))}
        for library in ("boto3", "obstore", "celery")
    }
    assert users["boto3"] == {"tasks/bucket/storage.py"}
    assert users["obstore"] == {"tasks/bucket/direct.py"}
    assert users["celery"] <= {"tasks/broker.py", "worker/app.py"}


def test_a_worker_deletes_nothing_from_the_bucket():
    """An attempt that was lost may run on beside the one that commits: only the keeper deletes."""
    deleting = {named(p) for p in MODULES if re.search(r"\.delete(_prefix)?\(", p.read_text())}
    assert {path.rpartition("/")[0] for path in deleting if path.startswith("worker/")} == {"worker/keeper"}


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def app_process() -> tuple[list[str], int]:
    """Of a process that has made the app and served its document: heavy modules it has, and its memory in KiB."""
    *loaded, rss = in_a_new_process(
        "import sys, api; api.create_app().test_client().get('/openapi.json'); "
        f"print(*[m for m in {HEAVY + AT_FIRST_USE!r} if m in sys.modules]); "
        "import psutil; print(psutil.Process().memory_info().rss)"
    ).split()  # getrusage's peak would be ours too
    return loaded, int(rss) // 1024


def test_the_api_loads_nothing_that_only_models_need(app_process):
    """Nor the bucket's libraries, before anybody needs the bucket."""
    assert app_process[0] == []


def test_the_api_fits_in_80_mb(app_process):
    assert app_process[1] < 80 * 1000


MODELS_ALONE = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "sklearn",
    "pyarrow",
    "av",
    "PIL",
)
"""Packages that a worker's processes import with the first job, or the preload, of a model that needs them."""
BEFORE_ITS_FIRST_JOB = {
    "parent": "import worker.__main__, worker.parent",
    "keeper": "import worker.__main__, worker.keeper.keeper",
    "Celery's main process": "import worker.__main__, celery.apps.worker, celery.concurrency.prefork; "
    "from worker import app; app._import_before_forks()",
    "child, and the process of threads": "from pathlib import Path; from tasks.ledger import Worker; "
    "from tasks.registry import Registry; from tasks.settings import Settings; from worker import app, run; "
    "run.Runner(Settings(), Worker('w', 'cpu', [], [], [], False), Path('/nowhere'), Registry.default())",
}


@pytest.mark.parametrize("process", BEFORE_ITS_FIRST_JOB)
def test_a_process_of_a_worker_loads_no_model_code_before_its_first_job(process):
    """The parent must keep renewing leases, whatever a model does; the others would start later, for all models."""
    asked = f"import sys; {BEFORE_ITS_FIRST_JOB[process]}; print(*[m for m in {MODELS_ALONE!r} if m in sys.modules])"
    assert in_a_new_process(asked) == ""


def test_the_models_that_ship_import_of_torch_and_its_companions_what_they_use():
    """torchvision drags in torch._dynamo and sympy, and takes as long as torch; transformers takes longer."""
    asked = "('torchvision', 'torch._dynamo', 'sympy', 'transformers', 'sklearn')"
    assert (
        in_a_new_process(
            "import sys; from tasks.algorithm import implementation; from tasks.registry import Registry\n"
            "for model in Registry.default().models:\n"
            "    if model.algorithm != 'hf':\n"
            "        implementation(model.kind, model.algorithm)\n"
            f"print('torch' in sys.modules, *[m for m in {asked} if m in sys.modules])"
        )
        == "True"
    )


def extra(name: str) -> set[str]:
    """The packages of one extra of pyproject.toml, as modules are named."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][name]
    return {"google" if package == "protobuf" else package.replace("-", "_") for package in listed}


def test_what_needs_no_torch_is_loaded_without_its_extra():
    """A worker installed without the extras torch and train, as the demo is at first, serves recommend and hmm."""
    in_a_new_process(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {(extra('torch') | {'sklearn'}) - extra('worker')!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from tasks.algorithm import load\n"
        "from tasks.registry import Registry\n"
        "for model in Registry.default().models:\n"
        "    if model.kind == 'recommend' or model.name in ('hmm', 'hmm-words'):\n"
        "        load(model.kind, model.name)\n"
    )


def test_importing_the_package_reads_no_environment(monkeypatch):
    """Settings are read where a process starts: a wrong variable hurts nobody who only imports."""
    monkeypatch.setenv("BACKLOT_LEASE_S", "soon")
    in_a_new_process("import api, tasks.service.jobs, worker.parent, worker.keeper.keeper, api.client")


# -- the ledger


def test_every_script_is_a_method():
    """One method a script, same name."""
    verbs = [path.stem for path in SCRIPTS if path not in SHARED]
    assert all(callable(getattr(Ledger, verb)) and getattr(Ledger, verb).__doc__ for verb in verbs)


def header(path: Path) -> str:
    """The comment at the head of a script, up to the first line of code."""
    lines = path.read_text().splitlines(keepends=True)
    return "".join(itertools.takewhile(lambda line: line.startswith("--"), lines))


def numbers(text: str, name: str) -> set[int]:
    """The indexes of KEYS or ARGV that a header names: KEYS[1], '[3] slot', KEYS[4+]."""
    part = "".join(re.findall(rf"{name}\[\d+\+?\].*(?:\n(?!-- (?:KEYS|ARGV|Returns)).*)*", text))
    return {int(n) for n in re.findall(rf"(?:{name}|[ ,])\[(\d+)\+?\]", part)}


@pytest.mark.parametrize("path", [p for p in SCRIPTS if p not in SHARED], ids=lambda p: p.stem)
def test_a_script_names_every_key_and_argument_and_what_it_returns(path):
    """Its first line says what it does; what the body reads stands in the header, and nothing else stands there."""
    text = header(path)
    body = path.read_text().removeprefix(text)
    assert text.startswith(f"-- {path.stem}: ") and "-- Returns " in text
    for name in ("KEYS", "ARGV"):
        read = (
            {int(n) for n in re.findall(rf"{name}\[(\d+)\]", body)}
            | {int(n) for n in re.findall(rf"for i = (\d+)[^\n]*{name}", body)}
            | {int(n) for n in re.findall(rf"unpack\({name}, (\d+)\)", body)}
        )
        assert read <= numbers(text, name), f"{name} {read - numbers(text, name)} are read but not named"
        assert max(numbers(text, name), default=0) <= max(read | {1, 2}), f"{name} named in vain"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_is_short_and_never_scans(path):
    """O(log n): no KEYS, SCAN or whole range, but of the lines, which are as many as models."""
    text = path.read_text()
    most = {"_common": 210, "_next": 130, "_parking": 150, "_reading": 80, "_same": 90, "submit": 70}.get(path.stem, 60)
    assert len([line for line in text.splitlines() if not line.startswith("--")]) <= most
    assert not re.search(r"redis\.call\('(KEYS|SCAN|SMEMBERS|ZSCAN|HSCAN)'(?!, 'bl:lines'\))", text)


@pytest.mark.parametrize("path", SHARED, ids=lambda p: p.stem)
def test_a_lua_file_keeps_nothing_from_call_to_call(path):
    """A Redis Function's locals outlive the call: outside of functions each gets its value once, but `trip`."""
    text = path.read_text()
    declared = re.findall(r"^local ([\w, ]+?)(?: =.*)?$", text, re.MULTILINE)
    for name in {*", ".join(declared).split(", ")} - {"", "trip"}:
        changes = rf"(?<![\w.]){name}(\.\w+|\[[^\]]*\])? =[^=]"
        assert not [line for line in text.splitlines() if re.search(changes, line) and f"local {name}" not in line]
    assert len(re.findall(r"\btrip = ", text)) == (path.stem == "_dispatch")


def test_every_key_that_a_script_builds_is_in_keys_py():
    """The scripts and keys.py spell the same names."""
    spelled = {value for value in vars(keys).values() if isinstance(value, str) and value.startswith("bl:")}
    spelled |= set(keys.OWED.values())
    made = {
        getattr(keys, name)(*"xy"[: getattr(keys, name).__code__.co_argcount])
        for name in (
            "job",
            "text",
            "log",
            "line",
            "leases",
            "waiting",
            "fair",
            "swept",
            "idle",
            "wake",
            "worker",
            "slots",
            "tenant_jobs",
            "upload_jobs",
            "idempotency",
            "dead",
            "stored",
            "running",
            "later",
            "parked",
            "cost",
            "alone",
            "took",
            "batch",
            "receiving",
            "usage",
            "dependents",
            "same",
            "cached",
            "cited",
            "citing",
        )
    }
    known = {key.split(":")[1] for key in spelled | made}
    for path in SCRIPTS:
        used = set(re.findall(r"'bl:(\w+)", path.read_text().replace(header(path), "")))
        assert used - {"none"} <= known, path.stem


# -- the language

NO_SUBJECT = {"what", "how", "whether", "of", "where", "which", "those", "who", "for", "in", "as"}
"""First words that leave the reader waiting for the thing itself: a description names its subject first."""
WRITTEN = sorted(
    path
    for path in MODULES
    if path.relative_to(ROOT).parts[0] != "tasks"
    or path.parent == ROOT / "tasks"
    or path.relative_to(ROOT).parts[1] in ("service", "bucket", "ledger")
)


def descriptions(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings and the strings under constants and fields: line and text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def subjectless(source: str) -> list[int]:
    """Lines of the descriptions whose first word is one of NO_SUBJECT."""
    return [n for n, text in descriptions(source) if (w := re.search(r"\w+", text)) and w[0].lower() in NO_SUBJECT]


@pytest.mark.parametrize("path", WRITTEN, ids=named)
def test_a_description_begins_with_its_subject(path):
    """Modules, classes, functions and constants alike."""
    assert subjectless(path.read_text()) == []


def test_a_description_without_its_subject_is_found():
    """The search itself: a module, a constant and a method that begin so, and a function that does not."""
    assert subjectless('"""What."""\nA = 1\n"""Of a."""\nclass B:\n    def c(self):\n        """How."""\n') == [1, 3, 6]
    assert subjectless('def d():\n    """Forms of what is asked."""\n') == []


# -- lists that must agree


def test_the_kinds_are_folders_with_models():
    assert {model.kind for model in Registry.default().models} == set(KINDS)


def test_every_algorithm_is_offered_by_a_model():
    """A file with a class Model that no entry names would be dead code, an entry without a file a trap."""
    files = {
        (path.parent.name, path.stem)
        for path in (ROOT / "tasks").glob("*/*.py")
        if path.parent.name in KINDS and re.search(r"^class Model\(", path.read_text(), re.M)
    }
    entries = [*Registry.default().models, *Registry.read(ROOT / "tasks" / "models.hub.toml").models]
    assert files == {(model.kind, model.algorithm.replace("-", "_")) for model in entries}


def test_every_module_says_what_it_is_for_and_none_is_too_long():
    """First lines for the reader; 400 lines at most."""
    for path in MODULES:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{named(path)} has no first sentence"
        assert len(path.read_text().splitlines()) <= 400, named(path)


def test_the_wheel_holds_every_package_and_its_data():
    """pyproject names each folder with Python in it, so that an installed Backlot is whole."""
    packages = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    tops = (*PACKAGES, "deploy")
    found = {".".join(p.parent.relative_to(ROOT).parts) for top in tops for p in (ROOT / top).rglob("*.py")}
    assert packages == found
