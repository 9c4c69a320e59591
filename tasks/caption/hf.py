"""Caption by a model of Hugging Face's form: BLIP, GIT, Florence-2, and image-text-to-text models that chat.

The folder is what `save_pretrained` writes: config.json, safetensors, and the processor (or image processor and
tokenizer). Nothing is fetched, no code that comes with a model is run, no pickle is read. config.json decides the class
(transformers' AutoModelForImageTextToText); asking.py knows how each is asked. A captioner is tried once when it is
loaded, so that one that cannot caption is refused there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, StoppingCriteria, StoppingCriteriaList

from tasks.algorithm import Algorithm, Call, Result
from tasks.caption import Params, quality
from tasks.caption.asking import Asker
from tasks.caption.captioner import picture_of, unless_canceled, written
from tasks.errors import BacklotError
from tasks.folder import judged
from tasks.pretrained import check_tokens, load_network
from tasks.warning import warning

NO_DOUBT = float("-inf")  # which log-probability is doubtful for a model that others trained, nobody has measured
TRIAL_PX = 64  # side of the grey picture that a captioner is tried on


@dataclass(frozen=True)
class Said:
    """A caption; `logprob` is the sum of ln p of its tokens, the end among them, as the network has them."""

    caption: str
    logprob: float
    finished: bool


class Model(Algorithm):
    """One picture at a time: what processors make of two pictures need not have one shape."""

    def __init__(self, model: Any, asker: Asker, device: str) -> None:
        self.model, self.asker, self.device = model, asker, device

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Model":
        """`weights`: the folder; errors: ModelFailed, of one that is not whole, of another kind or cannot caption."""
        model = load_network(weights, AutoModelForImageTextToText, torch.float32 if device == "cpu" else "auto")
        asker = Asker.read(weights, model.config)
        check_tokens(asker.tokenizer, model)
        made = cls(model.to(device), asker, device)
        step = "put the processor and the chat template that belong to the network into the folder"
        with judged("the captioner fails at a first picture", step, weights or Path()):
            grey = Image.new("RGB", (TRIAL_PX, TRIAL_PX), "grey")
            made.tell(grey, Params(beams=1, alternatives=0, max_tokens=1), StoppingCriteriaList())
        return made

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        told = []
        for call in calls:
            told.append(self._told(call))
            call.answer(told[-1])
        return told

    def _told(self, call: Call) -> Result | BacklotError:
        try:
            read = picture_of(call)
            picture, measured = read.picture, quality.measure(read.picture)
            call.report(0.2, "putting it into words")
            said = self.tell(picture, call.params, StoppingCriteriaList([Canceling(call)]))
        except BacklotError as error:
            return error
        captions = [{"caption": one.caption, "logprob": one.logprob} for one in said]
        result = written(call, captions, measured, NO_DOUBT, [*read.warnings, *self._warnings(said[0], call.params)])
        call.report(1.0, "captioned")
        return result

    def _warnings(self, best: Said, params: Params) -> list[dict[str, str]]:
        found = []
        if not best.caption:
            found.append(
                warning("nothing_said", "the model ended its caption before the first word; try another model")
            )
        if not best.finished:
            cut = f"the caption breaks off at max_tokens, {params.max_tokens}; raise max_tokens to have its end"
            found.append(warning("caption_cut", cut))
        if self.asker.guessed:
            asked = "the model's folder has no chat template; it was asked in the words 'USER: ... ASSISTANT:', a guess"
            found.append(warning("question_guessed", asked))
        return found

    @torch.inference_mode()
    def tell(self, picture: Image.Image, params: Params, stopping: StoppingCriteriaList) -> list[Said]:
        """The captions, best first; errors: Canceled."""
        found = self.model.generate(
            **self.asker.ask(picture).to(self.device, self.model.dtype),
            num_beams=params.beams,
            num_return_sequences=min(params.beams, 1 + params.alternatives),
            do_sample=False,
            length_penalty=params.length_penalty,
            max_new_tokens=params.max_tokens,
            return_dict_in_generate=True,
            output_logits=True,
            stopping_criteria=stopping,
        )
        beams = found.get("beam_indices")
        if beams is None:  # greedy: one row, which is its own beam at each step
            beams = torch.zeros(1, len(found.logits), dtype=torch.int64, device=found.sequences.device)
        steps = int((beams >= 0).sum(dim=1).max())
        tokens, beams = found.sequences[:, -steps:], beams[:, :steps]  # whatever stands before them was asked
        rows = zip(tokens, beams, strict=True)  # where fewer sentences than beams can be said, the rest have no step
        return [self._said(row, of, found.logits, params) for row, of in rows if of[0] >= 0]

    def _said(self, tokens: Tensor, beams: Tensor, logits: Sequence[Tensor], params: Params) -> Said:
        """The caption of a row's tokens (steps,). `beams` (steps,): its row in each step's logits, below 0 behind its
        end."""
        length = int((beams >= 0).sum())
        scores = torch.stack([logits[step][beams[step]] for step in range(length)]).float()
        each = scores.log_softmax(dim=-1).gather(1, tokens[:length, None])
        last = int(tokens[length - 1])
        ended = last in self.asker.tokenizer.all_special_ids
        if self.model.generation_config.forced_eos_token_id is not None:  # which says nothing of the model's own will
            ended = ended and int(scores[-1].argmax()) == last
        return Said(
            self.asker.words(tokens[:length]),
            min(float(each.double().sum()), 0.0),
            finished=ended or length < params.max_tokens,
        )


class Canceling(StoppingCriteria):
    """Asks before each token whether the call is still wanted; stops generate() by raising Canceled."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        unless_canceled(self.call)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
