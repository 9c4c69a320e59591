"""The first frame of a video, by FFmpeg (PyAV), upright. Runs where pictures.py decodes; knows no other picture."""

from typing import BinaryIO

import av
from PIL import Image

from tasks.caption.limits import check_size
from tasks.errors import InvalidInput

DEMUXERS = "mov,mp4,matroska,webm,avi"
"""Containers; none that names other files or addresses."""


class NoVideo(Exception):
    """The file is none of DEMUXERS, or has no picture in it; `damaged`: it cannot be opened at all."""

    def __init__(self, detail: str, damaged: bool) -> None:
        self.damaged = damaged
        super().__init__(detail)


def first_frame(file: BinaryIO) -> Image.Image:
    """RGB. Errors: NoVideo; InvalidInput where no frame can be decoded; TooLarge."""
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": ""}
    try:
        with av.open(file, mode="r", metadata_errors="replace", options=options) as container:
            if not container.streams.video:
                raise NoVideo("there is no video track", damaged=False)
            track = container.streams.video[0]
            check_size(track.codec_context.width, track.codec_context.height)
            track.codec_context.thread_count = 1  # the process may start no thread
            return _decoded(container, track)
    except (av.error.FFmpegError, ValueError) as error:
        raise NoVideo(str(error), damaged=True) from error


def _decoded(container: av.container.InputContainer, track: av.VideoStream) -> Image.Image:
    try:
        frame = next(container.decode(track))
    except (av.error.FFmpegError, StopIteration) as error:
        raise InvalidInput(
            "the file is a video whose first frame cannot be decoded: it is cut short or damaged"
        ) from error
    check_size(frame.width, frame.height)
    pixels = frame.reformat(format="rgb24", threads=1).to_ndarray()
    return Image.fromarray(pixels).rotate(frame.rotation, expand=True)
