"""What the captioners that are trained here have in common: from a call to a result, by one encoder and one decoder.

A subclass names its decoder (a Teller); its weights are a folder of config.json and model.safetensors:

    {"encoder": {"name": "scenes", "widths": [...]}, "side": 96, "things": [...], "decoder": {...}, "doubt": -1.2}

`decoder` are the arguments of the Teller beside those that follow from the rest; `doubt` is the log-probability
under which a caption is called doubtful (measured when it was trained). domain.safetensors, where it is there, has the
pictures that the model was made for (domain.py). Knows nothing of training.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from tasks.algorithm import Algorithm, Call, Result
from tasks.caption import beam, quality
from tasks.caption.domain import Domain
from tasks.caption.encoder import SceneEncoder, Sight, SqueezeNetEncoder, channels_last
from tasks.caption.image import normalise, to_square
from tasks.caption.pictures import Read, read_picture
from tasks.caption.stored import read_tensors
from tasks.caption.teller import Teller
from tasks.caption.vocabulary import Words, vocabulary
from tasks.errors import BacklotError, Canceled
from tasks.folder import CONFIG, TENSORS, read_json, trained
from tasks.warning import warning


class Network(nn.Module):
    """An encoder and a decoder."""

    def __init__(self, encoder: nn.Module, teller: Teller) -> None:
        super().__init__()
        self.encoder, self.teller = encoder, teller


def network(config: dict[str, Any], teller: type[Teller]) -> Network:
    """The network of a config.json, with weights at random."""
    words, eyes = vocabulary(config), config["encoder"]
    named = eyes["name"] == "scenes"
    encoder = SceneEncoder(eyes["widths"], len(config["things"])) if named else SqueezeNetEncoder()
    return Network(encoder, teller(len(words), encoder.features, named=named, **config["decoder"]))


@dataclass(frozen=True)
class Opened:
    """What stays of a picture, however large: the square that is encoded, the fields of Quality, and warnings."""

    square: Image.Image
    quality: dict[str, float]
    warnings: list[dict[str, str]]


class Captioner(Algorithm):
    """One pass of the encoder for all calls of a batch, then each call's own beam search."""

    name: ClassVar[str]
    teller: ClassVar[type[Teller]]

    def __init__(
        self, made: Network, words: Words, side: int, doubt: float, device: str, domain: Domain | None = None
    ) -> None:
        self.network, self.vocabulary, self.side, self.doubt, self.device = made, words, side, doubt, device
        self.domain = domain

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Captioner":
        """`weights`: a folder with config.json and model.safetensors; errors: ModelFailed, of another or damaged."""
        with trained(weights, cls.name, CONFIG, TENSORS) as folder:
            config = read_json(folder / CONFIG)
            made = network(config, cls.teller)
            made.load_state_dict(read_tensors(folder))
            channels_last(made)
            domain = Domain.load(folder)
            return cls(made.to(device).eval(), vocabulary(config), config["side"], config["doubt"], device, domain)

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        answers: list = [self._opened(call) for call in calls]
        good = [n for n, answer in enumerate(answers) if isinstance(answer, Opened)]
        if not good:
            return answers
        seen = self.encode([answers[n].square for n in good])
        for row, n in enumerate(good):
            answers[n] = self._told(calls[n], answers[n], seen[[row]])
            calls[n].answer(answers[n])
        return answers

    def _opened(self, call: Call) -> Opened | BacklotError:
        """What is needed of the picture, or what is wrong with it."""
        try:
            read = picture_of(call)
            return Opened(to_square(read.picture, self.side), quality.measure(read.picture), read.warnings)
        except BacklotError as error:
            return error

    def _told(self, call: Call, opened: Opened, sight: Sight) -> Result | BacklotError:
        """The result of a call whose picture is seen so; where nothing is seen there is nothing to say."""
        blind = not sight.features.any()
        try:
            call.report(0.5, "putting it into words")
            found = [beam.Sentence()] if blind else self.tell(sight, call)
        except BacklotError as error:
            return error
        captions = [
            {"caption": self.vocabulary.sentence(self.vocabulary.decode(one.tokens)), "logprob": min(one.logprob, 0.0)}
            for one in found[: 1 + call.params.alternatives]
        ]
        strange = [warning("nothing_seen", "the picture shows nothing that the captioner knows")] if blind else []
        strange += self.foreign(sight)
        files = [] if blind else self.draw(opened.square, sight, found[0].tokens, call.workdir)
        result = written(call, captions, opened.quality, self.doubt, [*opened.warnings, *strange], files)
        call.report(1.0, "captioned")
        return result

    def foreign(self, sight: Sight) -> list[dict[str, str]]:
        """A warning where the picture is not of the sort that the model learned from."""
        reason = "" if self.domain is None else self.domain.foreign(sight)
        unlike = f"the picture is unlike the composed scenes of emoji that {self.name} learned from ({reason})"
        do = "do not trust its caption; photographs are for the model cnn"
        return [warning("out_of_domain", f"{unlike}: {do}")] if reason else []

    def draw(self, picture: Image.Image, sight: Sight, tokens: tuple[int, ...], folder: Path) -> list[Path]:
        """Files that show how the caption came about; none but where a subclass has some."""
        return []

    @torch.inference_mode()
    def encode(self, pictures: Sequence[Image.Image]) -> Sight:
        """RGB pictures of side x side pixels."""
        return self.network.encoder(normalise(pictures).to(self.device))

    @torch.inference_mode()
    def tell(self, sight: Sight, call: Call) -> list[beam.Sentence]:
        """The likeliest captions of one encoded picture, best first; errors: Canceled."""

        def step(last: Tensor, state: beam.State) -> tuple[Tensor, beam.State]:
            unless_canceled(call)
            scores, state = self.network.teller.step(last.to(self.device), state)
            scores[:, self.vocabulary.start] = -torch.inf
            if last[0] == self.vocabulary.start:  # the first step: a caption has a word at least
                scores[:, self.vocabulary.end] = -torch.inf
            return scores, state

        longest = min(self.vocabulary.longest, call.params.max_tokens + 1)  # one for <end>
        return beam.search(
            step,
            self.network.teller.begin(sight),
            self.vocabulary.start,
            self.vocabulary.end,
            call.params.beams,
            longest,
            call.params.length_penalty,
        )


def written(
    call: Call,
    captions: list[dict],
    measured: dict,
    doubt: float,
    more: Sequence[dict[str, str]] = (),
    files: Sequence[Path] = (),
) -> Result:
    """The result of the captions found, best first, and caption.json in the workdir. `more`: other warnings."""
    doubtful = f"the caption is doubtful: its log-probability is {captions[0]['logprob']:.2f}, under {doubt:.2f}"
    doubts = [warning("low_confidence", doubtful)]
    value = {
        "caption": captions[0]["caption"],
        "alternatives": captions,
        "quality": measured,
        "warnings": [*quality.warnings(measured), *more, *(doubts if captions[0]["logprob"] < doubt else [])],
    }
    file = call.workdir / "caption.json"
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Result(value, (file, *files))


def picture_of(call: Call) -> Read:
    """The picture of a call; errors: Canceled, those of read_picture."""
    unless_canceled(call)
    call.report(0.0, "opening the picture")
    return read_picture(call.inputs["image"])


def unless_canceled(call: Call) -> None:
    if call.canceled():
        raise Canceled("the job was canceled before its picture was told")
