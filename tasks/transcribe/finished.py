"""The stretches of a recording that are transcribed already, as a checkpoint keeps them.

JSON lines: what they were made from (model, params, the decoded sound), then a line a stretch. Knows nothing of audio.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple

from tasks.algorithm import Call
from tasks.transcribe.segments import Span
from tasks.transcribe.transcript import Segment, Word


class Finished:
    """`segments`: those of the checkpoint that the call was given, where it fits; then those that are added."""

    def __init__(self, call: Call, model: str, sound: str, spans: Sequence[Span]) -> None:
        """`sound`: a hash of the samples."""
        self._call = call
        made_from = {"model": model, "sound": sound, "params": call.params.model_dump(mode="json")}
        self._lines = [json.dumps(made_from, sort_keys=True)]
        self.segments: list[Segment] = []
        for segment, span in zip(self._read(call.saved() or b""), spans, strict=False):
            if (segment.start, segment.end) != (round(span.start, 3), round(span.end, 3)):
                break  # cut elsewhere, by another release
            self._add(segment)

    def _read(self, data: bytes) -> list[Segment]:
        """Nothing, where it is of something else, or cannot be read."""
        try:
            made_from, *lines = data.decode().split("\n")
            parts = [json.loads(line) for line in lines] if made_from == self._lines[0] else []
            return [
                Segment(start, end, tuple(Word(*word) for word in words), *fit) for start, end, words, *fit in parts
            ]
        except (ValueError, TypeError):
            return []

    def _add(self, segment: Segment) -> None:
        self.segments.append(segment)
        words = [astuple(word) for word in segment.words]
        self._lines.append(json.dumps([segment.start, segment.end, words, segment.fit]))

    def add(self, segments: Sequence[Segment]) -> None:
        """Those that were heard together; the worker may write them down."""
        for segment in segments:
            self._add(segment)
        self._call.save("\n".join(self._lines).encode())
