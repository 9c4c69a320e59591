"""docs/architecture.md and docs/glossary.md name files, tests and keys that exist, and leave out none they list."""

import re
from typing import get_args

import pytest

from tasks.job import Status
from tasks.ledger import keys
from tasks.service.explain import WaitsFor
from tests.documents import LINK, links
from tests.stack import ROOT

ARCHITECTURE, GLOSSARY = ROOT / "docs/architecture.md", ROOT / "docs/glossary.md"
METRIC = re.compile(r'(Counter|Gauge|GaugeMetricFamily|gauge)\(\s*"(backlot_\w+)"')
RULE = re.compile(r"^\| .+ \| \[(tests/[\w/.]+)\]\(\S+\) ((?:`test_\w+` ?)+)\|$", re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the page's tables, without their heads."""
    tables = re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for table in tables for row in table.splitlines()]


WORDS = rows(GLOSSARY.read_text())


@pytest.mark.parametrize("row", WORDS, ids=lambda row: row[0])
def test_a_word_has_a_meaning_and_a_file_that_exists(row):
    """Word, one or two sentences, the field's word or nothing, a link."""
    _, meaning, _, where = row
    assert meaning.endswith(".") and 1 <= len(re.findall(r"[.](?:\s|$)", meaning)) <= 3
    assert all((GLOSSARY.parent / link).is_file() for link in LINK.findall(where)) and LINK.findall(where)


def test_each_word_stands_once():
    named = [word for row in WORDS for word in row[0].split(", ")]
    assert len(named) == len(set(named)) > 60


def test_every_status_is_explained():
    (meaning,) = (row[1] for row in WORDS if row[0] == "status")
    assert [status for status in Status if f"`{status}`" not in meaning] == []


def test_the_test_of_each_rule_exists():
    """In the file that the rule names."""
    rules = RULE.findall(ARCHITECTURE.read_text())
    assert len(rules) == ARCHITECTURE.read_text().split("## Rules")[1].count("\n| ") - 1
    for file, tests in rules:
        for name in re.findall(r"test_\w+", tests):
            assert f"def {name}(" in (ROOT / file).read_text(), name


def test_every_key_of_the_ledger_is_in_the_architecture():
    """Those that keys.py names, by their first words."""
    text = ARCHITECTURE.read_text()
    constants = {value for value in vars(keys).values() if isinstance(value, str) and value.startswith("bl:")}
    made = {f"bl:{name}" for name in re.findall(r'return f"bl:([\w]+)', (ROOT / "tasks/ledger/keys.py").read_text())}
    assert [key for key in constants | made if f"`{key}`" not in text and f"`{key}:" not in text] == []


def test_every_field_that_a_script_writes_is_in_the_architecture():
    """The words that scripts set in a job's record."""
    text = ARCHITECTURE.read_text().split("| fields of the record | |")[1].split("\n\n")[0]
    scripts = "".join(path.read_text() for path in (ROOT / "tasks/ledger/scripts").glob("*.lua"))
    calls = re.findall(r"\b(?:set|note)\(job, ((?:[^\n]+,\n)*[^\n]+)", scripts)
    written = {name for call in calls for name in re.findall(r"'(\w+)', ", call)}
    assert written > {"fixed", "token", "retry_ms", "keep_ms"}
    assert [name for name in written if f"`{name}`" not in text] == []


def test_every_metric_that_is_named_is_served():
    """And each that we serve is in the table of alerts."""
    served = {
        name + "_total" * (sort == "Counter")
        for file in ("worker/keeper/metrics.py", "api/server/metrics.py")
        for sort, name in METRIC.findall((ROOT / file).read_text())
    }
    named = set(re.findall(r"`(backlot_\w+)`", (ROOT / "docs/operations.md").read_text()))
    assert len(named) > 12 and named <= served, named - served
    assert served - named <= {
        "backlot_journal_segments_total",
        "backlot_http_connections_max",
        "backlot_http_requests_under_way",
    }


def test_every_word_of_an_explanation_is_in_the_runbook():
    table = (ROOT / "docs/operations.md").read_text().split("| `waits_for` | do |")[1].split("\n\n")[0]
    assert [word for word in get_args(WaitsFor) if f"`{word}`" not in table] == []


def test_links_between_the_pages_name_headings_that_exist():
    """`operations.md#a-restore` and the like."""
    for page in (ROOT / "docs").glob("*.md"):
        for link in (link for link in LINK.findall(page.read_text()) if ".md#" in link and ":" not in link):
            file, _, anchor = link.partition("#")
            headings = re.findall(r"^#+ (.+)$", (page.parent / file).read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name}: {link}"


def test_the_pages_are_read_by_the_check_of_links():
    assert len(links(GLOSSARY)) > 60 and len(links(ARCHITECTURE)) > 40
