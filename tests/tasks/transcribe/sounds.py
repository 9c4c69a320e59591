"""Recordings made for tests: speech in any container and codec, at any time, with as many channels as wanted."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from tasks.transcribe import audio

RATE = audio.RATE
NINE = Path(__file__).parent / "one_to_nine.opus"
"""espeak-ng says 'one two three four five six seven eight nine' in 4.0 s."""


def spoken() -> np.ndarray:
    """NINE as int16, 16 kHz."""
    return np.concatenate(list(audio.blocks(NINE)))


def made(
    path: Path,
    *pieces: tuple[float, np.ndarray],
    codec: str = "flac",
    rate: int = RATE,
    layout: str = "mono",
    form: str | None = None,
    video_s: float = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """A file of pieces, each (second of its first sample, int16 samples or (channels, samples), 16 kHz)."""
    with av.open(str(path), "w", format=form, options=options or {}) as file:
        picture = _film(file) if video_s else None
        track = file.add_stream(codec, rate=rate, layout=layout)
        track.codec_context.open()
        for second in range(round(video_s * 2)):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
            frame.pts = second
            file.mux(picture.encode(frame))
        for start, samples in pieces:
            for frame in _frames(np.atleast_2d(samples), track, layout):
                frame.pts += round(start * rate)
                file.mux(track.encode(frame))
        file.mux([*track.encode(None), *(picture.encode(None) if picture else [])])
    return path


def two_tracks(path: Path, first: np.ndarray, second: np.ndarray, late: float) -> Path:
    """A Matroska file of two tracks of PCM, both `late`; the second is marked as default."""
    with av.open(str(path), "w") as file:
        tracks = [file.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2)]
        tracks[0].disposition, tracks[1].disposition = Disposition(0), Disposition.default
        for track in tracks:
            track.codec_context.open()
        for track, samples in zip(tracks, (first, second), strict=True):
            for frame in _frames(np.atleast_2d(samples), track, "mono"):
                frame.pts += round(late * RATE)
                file.mux(track.encode(frame))
    return path


def _film(file: av.container.OutputContainer) -> av.VideoStream:
    picture = file.add_stream("vp8" if "webm" in file.format.name else "mpeg4", rate=2)
    picture.width = picture.height = 64
    return picture


def _frames(samples: np.ndarray, track: av.AudioStream, layout: str) -> Sequence[av.AudioFrame]:
    given = "mono" if len(samples) == 1 else layout
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16p", layout=given)
    frame.rate, frame.pts = RATE, 0
    codec = track.codec_context
    resampler = av.AudioResampler(codec.format, layout, codec.rate, codec.frame_size or 1024)
    return [piece for piece in [*resampler.resample(frame), *resampler.resample(None)] if piece is not None]


def heard(path: Path, **options) -> tuple[np.ndarray, dict[str, str]]:
    """The samples, and warnings by code."""
    warnings: list[dict[str, str]] = []
    sound = np.concatenate(list(audio.blocks(path, warn=warnings.append, **options)))
    return sound, {warning["code"]: warning["detail"] for warning in warnings}


def place(sound: np.ndarray, wanted: np.ndarray) -> float:
    """Second of `sound` at which `wanted` begins: where the two correlate best."""
    size = len(sound) + len(wanted)
    spectra = [np.fft.rfft(samples.astype(float), size) for samples in (sound, wanted)]
    return int(np.argmax(np.fft.irfft(spectra[0] * spectra[1].conj(), size)[: len(sound)])) / RATE
