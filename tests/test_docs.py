"""README, docs and their snippets are true: each fenced block runs here, or is listed below with the reason why not.

The stack runs from a copy of the tree, in a folder whose name has a space, to which the documents' own algorithm and
models.toml entry were added. A console's output must have the documented shape: ids and numbers may differ.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from api import keyfile
from api.client import Client
from api.problems import CODES
from deploy import docs
from deploy.local.programs import MARK
from deploy.local.state import _shell_lines
from tasks.errors import WorkerLost
from tasks.ledger import Ledger, Worker
from tasks.registry import KINDS, Registry
from tasks.settings import CALLERS, Settings
from tests.conftest import make_fixed
from tests.documents import ID, Block, blocks, code, console, documents, has_shape, links
from tests.stack import ROOT, RedisServer, S3Server, Stack, environment, make_settings, make_storage

ENDS_S = 120
DOCUMENTS = documents()
BLOCKS = [block for path in DOCUMENTS for block in blocks(path)]
RUN, PICTURES = ("sh", "console", "python", "toml"), "mermaid"
NOT_RUN = {
    "make demo     # installs into .venv, starts the whole stack on this machine, runs one job of each kind": (
        "it installs and would run this suite within itself; its jobs are tests/deploy/test_samples.py's"
    ),
    "export BACKLOT_REDIS_URL=rediss://:secret@redis.example:6379/0      # noeviction, append-only file on": (
        "it needs a Redis and a bucket elsewhere; its variables and modules are looked at below"
    ),
    "ACL SETUSER backlot on >password ~bl:* ~_kombu.* ~unacked* ~cpu.* ~gpu.* ~proof.* ~*.pidbox &* +@all -@admin "
    "-@dangerous +info": "it is Redis' own command; tests/strangers/test_redis_urls.py gives these rights",
    '{"Rules": [{"ID": "broken-uploads", "Status": "Enabled", "Filter": {"Prefix": ""}, '
    '"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}]}': (
        "the S3 server here has no such rules; tests/worker/keeper/test_clearing.py looks at its shape"
    ),
    '{"at": "2026-11-30T09:30:00.123Z", "from": "203.0.113.7", "method": "POST", '
    '"route": "/v1/jobs/<job_id>/cancel",': "it is a line of a log; tests/security/test_audit.py reads such lines",
    "limit_conn_zone $binary_remote_addr zone=address:10m;": (
        "it needs an nginx and a certificate; the site of the same page for Caddy is run"
    ),
    'currency = "EUR"': "it is a file of prices; tests/api/test_budgets.py reads it",
    "{": "tests/api/server/test_behind_a_proxy.py runs Caddy with it",
}
"""First lines of blocks, and why they are not run here."""

# -- each block


@dataclass
class Desk:
    """Where a reader sits: a checkout with .backlot/env, the files that the documents name, a stack that runs."""

    root: Path
    client: Client
    ledger: Ledger

    def run(self, command: list[str], **more) -> str:
        """What a command shows; it must succeed."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=ENDS_S,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(self.root)},
            **more,
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ended(self, shown: str) -> None:
        """Every job that was shown ends well."""
        for job_id in {found[0] for found in ID.finditer(shown) if found[1] == "job"}:
            job = self.client.wait(job_id, timeout=ENDS_S)
            assert job["status"] == "succeeded", job

    def dead_letter(self) -> str:
        """The id of a job whose last attempt was lost."""
        fixed = make_fixed(pool="gpu", model="transformer", max_attempts=1)
        hand = Worker("hand", "gpu", ["gpu.generate"], ["gpu.generate:transformer"])
        self.ledger.submit(fixed)
        self.ledger.renew(hand)
        claimed = self.ledger.claim(hand, f"hand:{fixed.id}", uuid.uuid4().hex)
        self.ledger.fail(claimed.fixed.id, claimed.token, WorkerLost("its process died"))
        return claimed.fixed.id


@pytest.fixture(scope="module")
def desk(redis_server: RedisServer, s3_server: S3Server, tmp_path_factory) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("docs") / "back lot"
    for package in ("api", "tasks", "worker"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    _write_what_the_documents_write(root)
    _write_what_the_documents_name(root)
    outputs = {"acme": ["studio-acme/backlot/"]}
    settings = make_settings(
        redis_server.for_a_stack(), s3_server, f"docs-{uuid.uuid4().hex[:12]}", root / ".backlot", s3_outputs=outputs
    )
    make_storage(settings), make_storage(settings.model_copy(update={"s3_bucket": "studio-acme"}))
    key = keyfile.add(settings.keys_file, "acme")
    operator = keyfile.add(settings.keys_file, "acme", "operator")
    stack = Stack(settings, tmp_path_factory.mktemp("logs"), root=root)
    with stack.keeper(), stack.worker("cpu"), stack.api() as api:
        callers = {"BACKLOT_URL": api.url, "BACKLOT_API_KEY": key, "BACKLOT_OPERATOR_KEY": operator}
        (root / ".backlot" / "env").write_text(_shell_lines({**callers, **environment(settings)}))
        yield Desk(root, Client(api.url, key), Ledger(settings))


def _write_what_the_documents_write(root: Path) -> None:
    """Files whose name a block says in its first line; entries of models.toml."""
    for block in BLOCKS:
        if block.language == "python" and (named := re.fullmatch(r"# (\S+\.py)", block.first)):
            (root / named[1]).write_text(block.text)
        if block.language == "toml" and block.first.startswith("[[model]]"):
            with (root / "tasks" / "models.toml").open("a") as models:
                models.write(block.text)


def _write_what_the_documents_name(root: Path) -> None:
    shutil.copy(ROOT / "tasks/transcribe/samples/reading_female.opus", root / "talk.mp3")
    shutil.copy(ROOT / "tasks/recommend/samples/films.csv", root / "films.csv")
    titles = ["Alien", "Jaws", "Psycho", "Vertigo", "The Birds", "Blade Runner"]
    rows = [f"{user},{title}" for user in range(36, 48) for place, title in enumerate(titles) if (user + place) % 3]
    (root / "ratings.csv").write_text("user,item\n" + "\n".join(rows) + "\n")
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(root / "ratings.csv"), root / "ratings.parquet")


def _runs(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and block.first not in NOT_RUN]


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language not in (*RUN, PICTURES)], ids=str)
def test_a_block_of_another_language_is_listed(block):
    """A new one is run by a test of its own, and named in NOT_RUN with it."""
    assert block.first in NOT_RUN, f"{block}: neither run nor listed"


def test_what_is_listed_stands_in_a_document():
    """The list shrinks with the documents."""
    assert NOT_RUN.keys() <= {block.first for block in BLOCKS}


@pytest.mark.parametrize("block", _runs("sh"), ids=str)
def test_a_shell_block_runs_and_its_jobs_succeed(desk, block):
    desk.ended(desk.run(["sh", "-euc", f". .backlot/env\n{block.text}"]))


@pytest.mark.parametrize("block", _runs("console"), ids=str)
def test_a_console_shows_what_is_documented(desk, block):
    """One command after another; ids that the first shows are used by the next."""
    replaced = {"JOB_ID ...": f"{desk.dead_letter()} {desk.dead_letter()}", "JOB_ID": desk.dead_letter()}
    for command, documented in console(block):
        for placeholder, value in replaced.items():
            command = command.replace(placeholder, value)
        shown = desk.run(["sh", "-euc", f". .backlot/env\n{command}"])
        assert has_shape(shown, documented), f"{block}: {command}\nshows\n{shown}\nbut documented is\n{documented}"
        written = [found[0] for found in ID.finditer(documented)]
        replaced.update(zip(written, (found[0] for found in ID.finditer(shown)), strict=False))


@pytest.mark.parametrize("block", [b for b in _runs("python") if not re.match(r"# \S+\.py$", b.first)], ids=str)
def test_a_python_block_runs(desk, block):
    """With .backlot/env in its environment. Where it says in a comment what it prints, it prints that."""
    shown = desk.run(["sh", "-euc", '. .backlot/env; exec python -c "$1"', "sh", block.text])
    for documented in re.findall(r"^print\(.*\) +# (.*)$", block.text, re.MULTILINE):
        assert documented in shown


@pytest.mark.parametrize("block", _runs("toml"), ids=str)
def test_a_toml_block_is_a_model_that_does_a_job(desk, block):
    """The algorithm that README tells how to add captions a picture, over HTTP."""
    (entry,) = tomllib.loads(block.text)["model"]
    job = desk.client.submit(
        entry["kind"], {"image": ROOT / "tasks/caption/samples/chelsea-cat.png"}, model=entry["name"], wait=ENDS_S
    )
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["caption"] == "a bright picture"


# -- what the text names


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert [link for link in links(path) if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_targets_modules_and_variables_that_are_named_exist(path):
    """`make x`, `python -m x`, BACKLOT_X."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code(path))) <= targets
    assert [name for name in re.findall(r"\bpython -m ([\w.]+)", code(path)) if not find_spec(name)] == []
    known = CALLERS | {MARK} | {f"BACKLOT_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bBACKLOT_[A-Z0-9_]*[A-Z0-9]\b", path.read_text())) <= known


def test_the_models_that_readme_lists_are_those_that_ship():
    """The table of the four kinds, a row a kind, names every model of models.toml and no other, the default first."""
    table = (ROOT / "README.md").read_text().split("## The four kinds")[1].split("\n\n")[1]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    listed = {kind.strip("`"): re.findall(r"`([\w-]+)`", models) for kind, models, *_ in cells}
    shipped = Registry.default()
    assert {kind: names[0] for kind, names in listed.items()} == {kind: shipped.model(kind).name for kind in KINDS}
    named = {f"{kind}/{name}" for kind, names in listed.items() for name in names}
    assert named == {model.key for model in shipped.models}


# -- what is generated


@pytest.mark.parametrize("path", docs.pages(), ids=lambda path: path.name)
def test_generated_parts_are_those_of_the_code(path):
    """Settings, codes and models, as the source describes them."""
    assert path.read_text() == docs.written(path), f"docs/{path.name} is not that of the code: run `make docs`"


def test_every_part_is_generated_somewhere():
    """A page that loses its markers is noticed, and so is a group of settings whose first was renamed."""
    parts = {part for path in docs.pages() for _, part, _ in docs.PART.findall(path.read_text())}
    assert parts == {"settings", "errors", "warnings", "models", "hub"}
    assert docs.GROUPS.keys() <= Settings.model_fields.keys()


def test_every_code_of_an_answer_is_in_the_table():
    """Each class with a code of its own, and each refusal that the server makes by itself."""
    table = docs.error_codes()
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) >= set(CODES.values())
    assert "`input_unreachable` | 422 | no | caller" in table and "`worker_lost` | in jobs alone | yes" in table
