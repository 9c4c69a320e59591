"""The bench's judgement: targets, aims and noise. The measurements themselves are run by `make bench-quick`."""

import math
import re

import pytest
from click.testing import CliRunner

from tests.bench import report, scale, scaling
from tests.bench.before import Before, Earlier
from tests.bench.figures import Figure, Target
from tests.bench.noise import ratio


@pytest.mark.parametrize(
    ("ours", "target_met", "aim_met"), [([1.9, 2.2, 1.8], False, False), ([2, 2, 9], True, False), ([3], True, True)]
)
def test_a_target_is_held_against_the_median_of_the_pairs(ours, target_met, aim_met):
    """Of ratios to a naive side of 1; a target that is just reached is met."""
    figure = Figure("x", "1/s", ours, [1] * len(ours), Target(2, at_least=True), Target(2.5, at_least=True))
    assert (figure.met, figure.aim_met) == (target_met, aim_met)


def test_a_target_without_a_ratio_is_held_against_our_own_figure():
    assert Figure("x", "MB", [101], [1], Target(100, of_ratio=False)).met is False
    assert Figure("x", "MB", [100], [1], Target(100, of_ratio=False)).met is True
    assert Figure("x", "MB", [100]).met is None


def test_a_difference_larger_than_the_spread_of_the_pairs_is_certain():
    """Three pairs, ratios 2, 2.1 and 1.9: the interval by Student's t (9.92 for 99 % and two degrees) leaves out 1."""
    found = ratio([1, 10, 100], [2, 21, 190])
    logs = [math.log(2), math.log(2.1), math.log(1.9)]
    middle = sum(logs) / 3
    error = math.sqrt(sum((one - middle) ** 2 for one in logs) / 2 / 3)
    assert found.middle == pytest.approx(math.exp(middle))
    assert found.low == pytest.approx(math.exp(middle - 9.925 * error), rel=1e-3)
    assert found.certain


def test_a_difference_within_the_spread_is_not_certain():
    assert not ratio([1, 1, 1], [0.9, 1.1, 1.2]).certain
    assert ratio([1, 1], [0, 1]) is None


def test_an_earlier_run_is_found_by_heading_name_and_unit(tmp_path):
    """Each '- p99' belongs to the figure above it; MiB of then are MB of now; another unit is another figure."""
    runs = tmp_path / "results.json"
    was = [("submit", "1/s", [3, 1, 2], [1, 1, 1]), ("- p99", "ms", [7], [])]
    was += [("pickup", "ms", [5], []), ("- p99", "ms", [9], []), ("API", "MiB", [100], [])]
    lines = [Figure(name, unit, ours, theirs) for name, unit, ours, theirs in was]
    report.write(tmp_path, {"cores": "2"}, lines)
    before = Before(runs)
    assert before.find(("submit", "submit"), "1/s") == Earlier(2, "1/s", 2)
    assert before.find(("pickup", "- p99"), "ms") == Earlier(9, "ms", None)
    assert before.find(("API", "API"), "MB").value == pytest.approx(104.8576)
    assert before.find(("API", "API"), "s") is before.find(("submit", "API"), "MB") is None


def test_a_page_is_written_again_from_its_results_with_the_run_before(tmp_path):
    line = Figure("submit", "1/s", [4, 6, 5], [2, 2, 2], Target(2, at_least=True), Target(3, at_least=True))
    for folder, figure in (("old", Figure("submit", "1/s", [3], [2])), ("new", line)):
        report.write(tmp_path / folder, {"cores": "2"}, [figure])
    args = [str(tmp_path / "new/results.json"), "--before", str(tmp_path / "old/results.json")]
    assert CliRunner().invoke(report.main, args, catch_exceptions=False).exit_code == 0
    row = "| submit, 1/s | 3 (1.50x) | 5 (4-6) | 2 (2-2) | 2.50 | at least 2x | at least 3x | met, aim missed |"
    assert (tmp_path / "new/RESULTS.md").read_text().count(row) == 2  # among the targets and in the whole table


def test_the_worked_example_adds_up():
    """2,000 jobs of 300 us, 1,000 renewals of 100 us and reads of 10 us, 48,000 events of 1 us: .758 of a core."""
    costs = dict.fromkeys(scale.rows(16_000), 1000.0)
    costs |= {"whole_us": 300, "renew_us": 100, "blocked_us": 10, "event_us": 1}
    told = scaling.example(costs)
    assert "| sum |  |  | 0.76 |" in told
    assert "at 70% of a core each: 2." in told
    assert f"beside these workers and readers: {(0.7 - 0.11) / 0.648 * 2000:,.0f}." in told
    assert "| ended jobs of one hour | 7.20 |" in told


def test_the_page_has_the_measured_parts():
    page = scaling.PAGE.read_text()
    parts = {
        name: text for _, name, text in re.findall(r"(<!-- measured: (\w+) -->\n)(.*?)<!-- end -->", page, re.DOTALL)
    }
    assert parts.keys() == {"constants", "example"}
    assert all(name in parts["constants"] for name, _ in scale.rows(16_000).values())
    assert "| sum |" in parts["example"]
