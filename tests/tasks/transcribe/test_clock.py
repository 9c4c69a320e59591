"""Sound lies at its time stamps: late beginnings and holes are silence, jitter tears nothing, absurd jumps are told."""

import random
import re

import numpy as np
import pytest

from tasks.transcribe.clock import AHEAD, Frame, laid
from tests.tasks.transcribe.sounds import RATE, heard, made, place, spoken

FRAME_S = 0.02


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return spoken()


LATE = {
    "mp4": {"codec": "aac"},
    "mov": {"codec": "pcm_s16le"},
    "mkv": {"codec": "flac"},
    "webm": {"codec": "libopus", "rate": 48_000},
    "flv": {"codec": "aac", "rate": 44_100},
    "wmv": {"codec": "libmp3lame", "rate": 44_100, "form": "asf"},
}


@pytest.mark.parametrize("ending", LATE)
def test_a_track_that_begins_late_is_heard_late(ending, speech, tmp_path):
    """Second 0 is that of the file, whatever its first packet of sound says."""
    path = made(tmp_path / f"late.{ending}", (4.0, speech), **LATE[ending])
    sound, warnings = heard(path)
    assert place(sound, speech) == pytest.approx(4.0, abs=0.05) and warnings == {}


def test_a_broadcast_begins_with_its_first_stamp(speech, tmp_path):
    """The clock of a transport stream runs since anywhere; beside a film, sound that is late stays late."""
    path = made(tmp_path / "late.ts", (4.0, speech), codec="mp2", rate=48_000)
    assert place(heard(path)[0], speech) == pytest.approx(0.0, abs=0.05)
    film = made(tmp_path / "film.ts", (4.0, speech), codec="mp2", rate=48_000, video_s=9)
    assert place(heard(film)[0], speech) == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize(
    ("ending", "codec", "rate"), [("webm", "libopus", 48_000), ("mkv", "flac", 16_000), ("mp4", "aac", 16_000)]
)
def test_a_hole_is_silence_of_its_length(ending, codec, rate, speech, tmp_path):
    """What comes after it comes when its stamps say; nothing is refused, nothing warned of."""
    path = made(tmp_path / f"hole.{ending}", (0.0, speech), (24.0, speech), codec=codec, rate=rate)
    sound, warnings = heard(path)
    second = place(sound[10 * RATE :], speech) + 10
    assert second == pytest.approx(24.0, abs=0.05) and warnings == {}
    assert not sound[5 * RATE : 23 * RATE].any()


def test_an_avi_tells_how_much_silence_was_left_out(speech, tmp_path):
    """Its holes are empty chunks, of which the decoder says nothing: the words are early, and the warning says so."""
    sound, warnings = heard(made(tmp_path / "late.avi", (4.0, speech), codec="libmp3lame", rate=44_100))
    assert place(sound, speech) == pytest.approx(0.0, abs=0.05)
    assert re.search(r"jumps ahead by [34]\.\d s", warnings["clock_jumps"])


def test_a_film_may_be_longer_than_its_sound(speech, tmp_path):
    """The container's length is not that of the track."""
    path = made(tmp_path / "film.webm", (0.0, speech), codec="libopus", rate=48_000, video_s=12)
    sound, warnings = heard(path)
    assert len(sound) / RATE == pytest.approx(4.02, abs=0.05) and warnings == {}


def test_dropped_packets_leave_their_time(speech, tmp_path):
    """Each third packet is missing: the last word is where it was."""
    frames = [(n * 0.02, speech[n * 320 : n * 320 + 320]) for n in range(200) if n % 30 < 20]
    sound, _ = heard(made(tmp_path / "lossy.mkv", *frames, codec="pcm_s16le"))
    assert place(sound, speech) == pytest.approx(0.0, abs=0.01)
    assert place(sound[3 * RATE :], speech[3 * RATE :]) == pytest.approx(0.0, abs=0.01)


def test_a_clock_that_jumps_by_days_is_not_followed(speech, tmp_path):
    """The two pieces stand one behind the other, and the warning says by how much the file is out."""
    path = made(tmp_path / "days.mkv", (0.0, speech), (3 * 86_400.0, speech), codec="pcm_s16le")
    sound, warnings = heard(path)
    assert len(sound) / RATE == pytest.approx(2 * len(speech) / RATE, abs=0.05)
    assert re.search(r"jumps ahead by 259,19\d\.\d s at second 4\.0", warnings["clock_jumps"])


def test_a_clock_that_begins_days_late_counts_from_its_beginning(speech, tmp_path):
    """A piece of a live stream."""
    sound, warnings = heard(made(tmp_path / "live.mkv", (86_400.0, speech), codec="pcm_s16le"))
    assert place(sound, speech) == pytest.approx(0.0, abs=0.01)
    assert "jumps ahead by 86,400.0 s at second 0.0" in warnings["clock_jumps"]


def test_a_clock_that_goes_back_loses_no_sound(speech, tmp_path):
    """Two broadcasts that were joined byte by byte."""
    one = made(tmp_path / "one.ts", (0.0, speech), codec="mp2", rate=48_000).read_bytes()
    (tmp_path / "two.ts").write_bytes(one * 2)
    sound, warnings = heard(tmp_path / "two.ts")
    assert place(sound[4 * RATE :], speech) == pytest.approx(0.03, abs=0.05)
    assert "jumps back by" in warnings["clock_jumps"]


# -- the clock alone


def ends(stamps: list[float | None], room: float = 1e6) -> tuple[list[float], list[tuple[float, float]]]:
    """Where each frame of FRAME_S begins, and the jumps."""
    jumps: list[tuple[float, float]] = []
    at, begins = 0.0, []
    for piece in laid((Frame(stamp, FRAME_S, None) for stamp in stamps), room, lambda *jump: jumps.append(jump)):
        begins.append(at + piece.silence)
        at += piece.silence + FRAME_S + piece.longer
    return begins, jumps


def test_jitter_moves_nothing():
    """Stamps that are off by up to 25 ms either way: frames lie one behind the other, to 10 ms."""
    chance = random.Random(1)
    begins, jumps = ends([n * FRAME_S + chance.uniform(-0.025, 0.025) for n in range(5000)])
    assert jumps == [] and max(abs(begin - n * FRAME_S) for n, begin in enumerate(begins)) < 0.01


@pytest.mark.parametrize("drift", [-0.002, 0.002])
def test_a_clock_that_drifts_is_followed_without_a_hole(drift):
    """2 parts in 1,000, for a quarter of an hour: never off by 10 ms, and never torn."""
    begins, jumps = ends([n * FRAME_S * (1 + drift) for n in range(45_000)])
    assert jumps == [] and max(abs(begin - n * FRAME_S * (1 + drift)) for n, begin in enumerate(begins)) < 0.01
    steps = np.diff(begins)
    assert steps.max() < 1.011 * FRAME_S and steps.min() > 0.989 * FRAME_S


def test_frames_without_stamps_follow_the_one_before():
    """Only some packets of a transport stream have one."""
    begins, _ = ends([1.0, None, None, 1.06, 2.0, None])
    assert begins == pytest.approx([1.0, 1.02, 1.04, 1.06, 2.0, 2.02])


def test_one_wrong_stamp_is_ignored():
    """A hole is believed where the frames after it agree."""
    stamps: list[float | None] = [n * FRAME_S for n in range(50)]
    stamps[20] = 17.0
    begins, jumps = ends(stamps)
    assert begins == pytest.approx([n * FRAME_S for n in range(50)]) and jumps == []


def test_a_hole_just_within_the_room_is_silence_and_one_just_over_is_told():
    """The longest recording is that of 4 hours, holes included."""
    stamps = [0.0, *(10.0 + n * FRAME_S for n in range(2 * AHEAD))]
    assert ends(stamps, room=10.001)[0][1] == pytest.approx(10.0)
    begins, jumps = ends(stamps, room=9.99)
    assert begins[1] == FRAME_S and jumps == [pytest.approx((FRAME_S, 10.0 - FRAME_S))]
