"""Caption by a model of Hugging Face's form: BLIP, GIT, ViT + GPT-2, and image-text-to-text models that chat.

The folder is what `save_pretrained` writes: config.json, safetensors, and the processor (or image processor and
tokenizer). Nothing is fetched, no code that comes with a model is run, no pickle is read. Which class is made,
config.json says (transformers' AutoModelForImageTextToText); how it is asked, the processor: one with a chat
template is asked QUESTION, the others go on from the picture alone. Knows nothing of any one architecture.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
)

from tasks.algorithm import Algorithm, Call, Result
from tasks.caption import quality
from tasks.caption.captioner import unless_canceled, written
from tasks.caption.pictures import open_picture
from tasks.errors import BacklotError
from tasks.pretrained import check_tokens, load_network, load_part

QUESTION = "Describe this picture in one sentence."
NO_DOUBT = float("-inf")  # which log-probability is doubtful for a model that others trained, nobody has measured


class Model(Algorithm):
    """One picture at a time: what processors make of two pictures need not have one shape."""

    def __init__(self, model: Any, asker: "Asker", device: str) -> None:
        self.model, self.asker, self.device = model, asker, device

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Model":
        """`weights`: the folder; errors: ModelFailed, of one that is not whole or of another kind."""
        dtype = torch.float32 if device == "cpu" else "auto"
        model = load_network(weights, AutoModelForImageTextToText, dtype)
        asker = Asker.read(weights)
        check_tokens(asker.tokenizer, model)
        return cls(model.to(device), asker, device)

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        told = []
        for call in calls:
            told.append(self._told(call))
            call.answer(told[-1])
        return told

    def _told(self, call: Call) -> Result | BacklotError:
        try:
            unless_canceled(call)
            call.report(0.0, "opening the picture")
            picture = open_picture(call.inputs["image"])
            measured = quality.measure(picture)
            call.report(0.2, "putting it into words")
            captions = self.tell(picture, call)
        except BacklotError as error:
            return error
        result = written(call, captions, measured, NO_DOUBT)
        call.report(1.0, "captioned")
        return result

    @torch.inference_mode()
    def tell(self, picture: Image.Image, call: Call) -> list[dict]:
        """{"caption", "logprob"}, best first; errors: Canceled."""
        asked = self.asker.ask(picture).to(self.device)
        beams = call.params.beams
        found = self.model.generate(
            **asked,
            num_beams=beams,
            num_return_sequences=min(beams, 1 + call.params.alternatives),
            do_sample=False,
            length_penalty=call.params.length_penalty,
            max_new_tokens=call.params.max_tokens,
            return_dict_in_generate=True,
            output_scores=True,
            stopping_criteria=StoppingCriteriaList([Canceling(call)]),
        )
        each = self.model.compute_transition_scores(
            found.sequences, found.scores, found.get("beam_indices"), normalize_logits=beams == 1
        )
        logprobs = each.masked_fill(each.isinf(), 0).double().sum(dim=1).tolist()  # behind <end> stands -inf
        return [
            {"caption": text, "logprob": min(logprob, 0.0)}
            for text, logprob in zip(self.asker.words(found.sequences, asked), logprobs, strict=True)
        ]


class Asker:
    """How a model is shown a picture, and how its tokens become words."""

    def __init__(self, processor: Any, tokenizer: Any) -> None:
        self.processor, self.tokenizer = processor, tokenizer

    @classmethod
    def read(cls, folder: Path | None) -> "Asker":
        """A processor that knows both, or an image processor and a tokenizer side by side."""
        processor = load_part(folder, AutoProcessor)
        if hasattr(processor, "tokenizer"):
            return cls(processor, processor.tokenizer)
        return cls(load_part(folder, AutoImageProcessor), load_part(folder, AutoTokenizer))

    def ask(self, picture: Image.Image) -> Any:
        """What generate() takes, one row."""
        if not getattr(self.processor, "chat_template", None):
            return self.processor(images=picture, return_tensors="pt")
        content = [{"type": "image", "image": picture}, {"type": "text", "text": QUESTION}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def words(self, sequences: torch.Tensor, asked: Any) -> list[str]:
        """The texts, without what was asked."""
        said = asked["input_ids"].shape[1] if "input_ids" in asked else 0
        return [text.strip() for text in self.tokenizer.batch_decode(sequences[:, said:], skip_special_tokens=True)]


class Canceling(StoppingCriteria):
    """Asks before each token whether the call is still wanted; stops generate() by raising Canceled."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        unless_canceled(self.call)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
