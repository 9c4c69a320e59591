"""Choice of one audio track among those of a file, and the warning that names the others.

It knows what containers say of their tracks, and no sound.
"""

import av
from av.stream import Disposition

from tasks.errors import InvalidInput, UnsupportedMedia
from tasks.warning import warning

CODECS = frozenset(
    {
        "pcm_u8",
        "pcm_s8",
        "pcm_s16le",
        "pcm_s16be",
        "pcm_s24le",
        "pcm_s24be",
        "pcm_s32le",
        "pcm_s32be",
        "pcm_f32le",
        "pcm_f32be",
        "pcm_f64le",
        "pcm_f64be",
        "pcm_bluray",
        "pcm_dvd",
        "pcm_alaw",
        "pcm_mulaw",
        "adpcm_ms",
        "adpcm_ima_wav",
        "adpcm_ima_qt",
        "mp3",
        "mp3float",
        "mp2",
        "mp2float",
        "aac",
        "aac_latm",
        "alac",
        "flac",
        "vorbis",
        "opus",
        "libopus",
        "ac3",
        "eac3",
        "amrnb",
        "amrwb",
        "wmav1",
        "wmav2",
        "wmapro",
        "wmavoice",
        "wmalossless",
    }
)
"""FFmpeg's names of what recordings and films are packed in; it has some hundred more, seldom looked after."""
NAMED = 20
"""Tracks that the warning names at most."""


def chosen(container: av.container.InputContainer, track: int | None, warnings: list[dict[str, str]]) -> av.AudioStream:
    """The track numbered `track` from 0; without a number the first that the file flags as default, else the first,
    and of these one that can be read before one that cannot. Adds a warning where others are not heard.

    Errors: UnsupportedMedia (no audio track, or none in one of CODECS), InvalidInput (no track of that number).
    """
    tracks = container.streams.audio
    if not tracks:
        raise UnsupportedMedia("the file has no audio track")
    if track is not None and track >= len(tracks):
        one = "1 audio track, number 0" if len(tracks) == 1 else f"{len(tracks)} audio tracks, 0 to {len(tracks) - 1}"
        raise InvalidInput(f"the file has {one}; `track` asks for {track}")
    wanted = tracks[track] if track is not None else max(tracks, key=_claim)  # the first of equals
    if _codec(wanted) not in CODECS:
        raise UnsupportedMedia(
            f"the audio track is packed as {_codec(wanted) or 'nobody knows what'}, which is not read"
        )
    if track is None and len(tracks) > 1:
        others = [_named(tracks, other) for other in tracks if other.index != wanted.index]
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        heard = f"of {len(tracks)} audio tracks this is {_named(tracks, wanted)}, {_why(tracks, wanted)}"
        ignored = f"Not heard: {'; '.join(others[:NAMED])}{more}"
        warnings.append(warning("tracks_ignored", f"{heard}. {ignored}. The param `track` chooses another"))
    return wanted


def _claim(track: av.AudioStream) -> tuple[bool, bool]:
    return _codec(track) in CODECS, bool(track.disposition & Disposition.default)


def _why(tracks: tuple[av.AudioStream, ...], wanted: av.AudioStream) -> str:
    if any(_claim(track)[1] and not _claim(wanted)[1] for track in tracks):
        return "as the default one is in a form that is not read"
    return "which the file marks as default" if _claim(wanted)[1] else "the first that can be read"


def _named(tracks: tuple[av.AudioStream, ...], track: av.AudioStream) -> str:
    """Its number, and what the file says of it."""
    language = track.language if track.language != "und" else None
    title = track.metadata.get("title")
    said = [_codec(track), language, repr(title[:60]) if title else None]
    return f"{tracks.index(track)} ({', '.join(filter(None, said))})"


def _codec(track: av.AudioStream) -> str | None:
    """FFmpeg's name of what would decode it."""
    return track.codec_context.name if track.codec_context else None
