"""Asks captioners of Hugging Face's form about a picture: what each is given beside the pixels, and its words back.

A processor with a chat template is asked QUESTION in it. Without one, PROMPTS has what each sort of model was trained
on; a model that marks the picture's place in a text, and is not in PROMPTS, is asked in Vicuna's words, which is a
guess; all others go on from the picture alone. Knows processors and tokenizers, and no network.
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.models.smolvlm import processing_smolvlm

from tasks.pretrained import load_part

QUESTION = "Describe this picture in one sentence."
VICUNA = f"USER: {{image}}\n{QUESTION} ASSISTANT:"
PROMPTS: dict[str, str | None] = {
    "blip-2": None,
    "florence2": "<CAPTION>",
    "fuyu": "Generate a coco-style caption.\n",
    "instructblip": QUESTION,
    "kosmos-2": "An image of",
    "llava": VICUNA,
    "paligemma": "{image}caption en",
}
"""Prompts by model type, from the models' own documentation; `{image}` is the processor's mark of a picture's place."""
T5_PROMPT = "a photo of"  # BLIP-2 with a T5 reads a text beside the picture (LAVIS, blip2_caption_flant5xl.yaml)

# SmolVLM's processor refuses to exist without num2words (LGPL), by which it spells how many frames a video has.
processing_smolvlm.num2words = processing_smolvlm.num2words or str


class Asker:
    """`guessed`: nothing in the folder says how the model is to be asked."""

    def __init__(self, processor: Any, tokenizer: Any, prompt: str | None, guessed: bool) -> None:
        self.processor, self.tokenizer, self.prompt, self.guessed = processor, tokenizer, prompt, guessed

    @classmethod
    def read(cls, folder: Path | None, config: Any) -> "Asker":
        """A processor that knows both, or an image processor and a tokenizer side by side."""
        processor = load_part(folder, AutoProcessor)
        if not hasattr(processor, "tokenizer"):
            return cls(load_part(folder, AutoImageProcessor), load_part(folder, AutoTokenizer), None, guessed=False)
        kind = config.model_type
        mark = getattr(processor, "boi_token", None) or getattr(processor, "image_token", None)
        guessed = not _chats(processor) and mark is not None and kind not in PROMPTS
        prompt = PROMPTS.get(kind, VICUNA if guessed else None)
        if kind == "blip-2" and config.text_config.is_encoder_decoder:
            prompt = T5_PROMPT
        if getattr(getattr(processor, "image_processor", None), "is_vqa", False):
            prompt = QUESTION  # which Pix2Struct draws above the picture
        return cls(processor, processor.tokenizer, prompt and prompt.replace("{image}", str(mark)), guessed)

    def ask(self, picture: Image.Image) -> Any:
        """What generate() takes, one row."""
        if not _chats(self.processor):
            words = {} if self.prompt is None else {"text": self.prompt}
            return self.processor(images=picture, return_tensors="pt", **words)
        content = [{"type": "image", "image": picture}, {"type": "text", "text": QUESTION}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def words(self, tokens: torch.Tensor) -> str:
        """The text of tokens (steps,), without the special ones."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip()


def _chats(processor: Any) -> bool:
    return bool(getattr(processor, "chat_template", None))
