"""The suites: marks in pyproject.toml, targets in the Makefile, the table in CONTRIBUTING.md and .ci/run say the same.

Each test runs in exactly one suite. The hooks of pre-commit are the commands of `make check`.
"""

import json
import re
import subprocess
import sys
import tomllib

import pytest

from tests.stack import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = dict(re.findall(r'^(test(?:-[a-z]+)?):.*\n\t.* -m pytest -m "([^"]+)" \$\(dist\)$', MAKEFILE, re.MULTILINE))
"""The expression over marks by target."""
COLLECTOR = """
import json, sys, pytest

class Marks:
    def pytest_collection_finish(self, session):
        names = [(item.nodeid, sorted({mark.name for mark in item.iter_markers()})) for item in session.items]
        with open(sys.argv[1], "w") as told:
            json.dump(names, told)

sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"], plugins=[Marks()]))
"""


def marks() -> set[str]:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    return {re.match(r"\w+", line)[0] for line in options["markers"]}


def test_each_mark_has_a_target_and_a_budget():
    """Marks, targets and table; and the budgets of CI beyond the core fit its hour."""
    rows = re.findall(
        r"^\| (\w+) \| `make (test[a-z-]*)` \| (\d+) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    wanted = {f"test-{mark}" for mark in marks()}
    assert set(TARGETS) == {"test", *wanted}
    assert {(mark, target) for mark, target, _ in rows} == {("none", "test"), *((m, f"test-{m}") for m in marks())}
    limits = {name: int(limit) for name, limit in re.findall(r"^ *suite (\S+) (\d+)$", ci(), re.MULTILINE)}
    assert set(limits) == {"check", "bench-quick", *TARGETS} - {"test-slow"}
    assert sum(limits.values()) - limits["test"] <= 60 and sum(limits.values()) <= 90
    assert all(int(budget) <= limits[target] for _, target, budget in rows if target in limits)


@pytest.mark.timeout(400)
def test_each_test_runs_in_exactly_one_suite(tmp_path):
    told = tmp_path / "marks.json"
    done = subprocess.run([sys.executable, "-c", COLLECTOR, told], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    items, counts = json.loads(told.read_text()), dict.fromkeys(TARGETS, 0)
    for test, has in items:
        values = {mark: mark in has for mark in marks()}
        suites = [target for target, expression in TARGETS.items() if eval(expression, {}, values)]
        assert len(suites) == 1, (test, suites)
        counts[suites[0]] += 1
    assert all(counts.values()), counts


def test_the_hooks_of_pre_commit_are_make_check():
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    ours = re.findall(r"^\t\$\(run\) \S+ (.*)$", recipe, re.MULTILINE)
    assert ours and re.findall(r"entry: \.venv/bin/python (.*)$", hooks, re.MULTILINE) == ours


def ci() -> str:
    return (ROOT / ".ci" / "run").read_text()
