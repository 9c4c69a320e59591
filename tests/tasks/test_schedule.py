"""Times of schedules: five fields, time zones, and the two nights of the year on which clocks are changed."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from tasks.schedule import ScheduleRequest, next_due

JOB = {"kind": "generate", "input": {"prompt": "x"}}
BERLIN = ZoneInfo("Europe/Berlin")


def runs(cron: str, begin: str, count: int, zone: str = "Europe/Berlin") -> list[str]:
    """The next times as a clock on the wall shows them, each with its distance to UTC."""
    at = round(datetime.fromisoformat(begin).timestamp() * 1000)
    found = []
    for _ in range(count):
        at = next_due(cron, zone, at)
        found.append(f"{datetime.fromtimestamp(at / 1000, ZoneInfo(zone)):%m-%d %H:%M %z}")
    return found


def test_a_time_is_read_in_its_zone():
    assert runs("30 6 * * 1-5", "2027-01-01T00:00+01:00", 3) == [
        "01-01 06:30 +0100",
        "01-04 06:30 +0100",
        "01-05 06:30 +0100",
    ]
    assert runs("30 6 * * *", "2027-01-01T00:00+00:00", 1, "Asia/Kolkata") == ["01-01 06:30 +0530"]
    assert runs("0 0 31 * *", "2027-02-01T00:00+00:00", 2, "UTC") == ["03-31 00:00 +0000", "05-31 00:00 +0000"]
    assert runs("0 0 29 2 *", "2027-01-01T00:00+00:00", 1, "UTC") == ["02-29 00:00 +0000"]


def test_a_run_is_after_the_time_asked_for():
    assert runs("* * * * *", "2027-01-01T00:00:00+00:00", 1, "UTC") == ["01-01 00:01 +0000"]
    assert runs("* * * * *", "2027-01-01T00:00:59.999+00:00", 1, "UTC") == ["01-01 00:01 +0000"]


def test_a_local_time_that_is_skipped_counts_as_the_first_minute_behind_the_gap():
    """On 28 March 2027 in Berlin 02:00 is 03:00."""
    begin = "2027-03-27T12:00+01:00"
    assert runs("30 2 * * *", begin, 2) == ["03-28 03:00 +0200", "03-29 02:30 +0200"]
    assert runs("0 2,3 * * *", begin, 2) == ["03-28 03:00 +0200", "03-29 02:00 +0200"]


def test_of_a_local_time_that_comes_twice_the_first_counts():
    """On 31 October 2027 in Berlin 02:00 to 03:00 comes twice; also asked in the hour that is the second."""
    assert runs("30 2 * * *", "2027-10-30T12:00+02:00", 2) == ["10-31 02:30 +0200", "11-01 02:30 +0100"]
    assert runs("30 2 * * *", "2027-10-31T02:10+01:00", 1) == ["11-01 02:30 +0100"]


def test_every_so_often_goes_by_real_time():
    """An hour that comes twice has two runs, one that is skipped has none."""
    assert runs("30 * * * *", "2027-10-31T01:45+02:00", 3) == [
        "10-31 02:30 +0200",
        "10-31 02:30 +0100",
        "10-31 03:30 +0100",
    ]
    assert runs("30 * * * *", "2027-03-28T01:15+01:00", 2) == ["03-28 01:30 +0100", "03-28 03:30 +0200"]
    assert runs("*/30 2 * * *", "2027-10-31T01:45+02:00", 4) == [
        "10-31 02:00 +0200",
        "10-31 02:30 +0200",
        "10-31 02:00 +0100",
        "10-31 02:30 +0100",
    ]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "0 * * * * *"}, "cron"),
        ({"cron": "60 * * * *"}, "cron"),
        ({"cron": "@daily"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": ""}, "cron"),
        ({"cron": "1," * 60 + "1 * * * *"}, "cron"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "localtime"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"missed": "all"}, "missed"),
        ({"name": "a\nb"}, "name"),
    ],
)
def test_what_is_no_schedule_is_refused(changes, place):
    with pytest.raises(ValidationError) as caught:
        ScheduleRequest.model_validate({"cron": "* * * * *", "job": JOB, **changes})
    assert [error["loc"] for error in caught.value.errors()] == [(place,)]
