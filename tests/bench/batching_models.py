"""The models whose batches are measured: two that are shipped, and two of the hub's sorts at their real size with
weights at random, made in a folder. Each with the requests that are asked of it.

It knows neither the worker nor the clock.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hub
from PIL import Image

from tasks.registry import Registry
from tests.bench.plan import Plan
from tests.tasks.caption.checkpoints import encoder_decoder, word_tokenizer
from tests.tasks.transcribe.checkpoints import PIECES, SPECIAL
from tests.tasks.transcribe.sounds import made, spoken

PROMPTS = ("Once upon a time there was", "The ship had not been seen", "A little dog went", "In the morning she")
TOKENS, QUICK_TOKENS = 64, 8
"""Tokens that each text has."""
WORDS, CAPTION_WORDS = 44, 16
"""Tokens that the whisper writes of a recording, and the captioner of a picture."""
BATCHES, FILES = 8, 8
"""Batches of texts, and files, in a run."""
SHOTS = 8
"""Files that are made; requests name them in turn."""
SIDE = 640
"""Pixels of a picture's longer side."""


@dataclass(frozen=True)
class Asked:
    """A request: the kind's inputs and params. `file`: the path of the one input that is a file."""

    kind: str
    model: str
    inputs: dict[str, str]
    params: dict[str, Any]
    file: Path | None = None


@dataclass(frozen=True)
class Subject:
    """A model to measure. `jobs`: requests of a run; `batch`: as in models.toml; `tokens`: that each text has."""

    kind: str
    name: str
    algorithm: str
    weights: str
    batch: int
    jobs: int
    tokens: int

    def table(self) -> str:
        """Its entry of models.toml."""
        said = {"kind": self.kind, "name": self.name, "algorithm": self.algorithm, "weights": self.weights}
        words = [f"{name} = {json.dumps(value)}" for name, value in {**said, "pool": "gpu"}.items()]
        return "\n".join(["[[model]]", *words, f"batch = {self.batch}", ""])

    def requests(self, folder: Path) -> Iterator[Asked]:
        """Its requests, in the order in which they are submitted."""
        for number in range(self.jobs):
            shot = number % SHOTS
            if self.kind == "generate":
                prompt = PROMPTS[number % len(PROMPTS)]
                yield Asked(self.kind, self.name, {"prompt": prompt}, {"max_tokens": self.tokens, "seed": number})
            elif self.kind == "transcribe":
                yield Asked(self.kind, self.name, {}, {}, folder / f"{shot}.flac")
            else:
                yield Asked(self.kind, self.name, {}, {"max_tokens": self.tokens}, folder / f"{shot}.jpg")


def subjects(folder: Path, plan: Plan) -> list[Subject]:
    """The models, with what they need in `folder`. The quick form has tiny networks and few requests."""
    torch.manual_seed(0)
    _shots(folder)
    _whisper(folder / "whisper", plan.quick)
    _captioner(folder / "vit-gpt2", plan.quick)
    shipped = Registry.default()
    texts = [shipped.model("generate", name) for name in ("stories", "transformer")]
    batches, tokens = plan.size(BATCHES, 2), plan.size(TOKENS, QUICK_TOKENS)
    files = plan.size(FILES, 4)
    return [
        *(Subject(m.kind, m.name, m.algorithm, str(m.weights), m.batch, batches * m.batch, tokens) for m in texts),
        Subject("transcribe", "whisper", "whisper", str(folder / "whisper"), 4, files, WORDS),
        Subject("caption", "vit-gpt2", "hf", str(folder / "vit-gpt2"), 4, files, CAPTION_WORDS),
    ]


def _shots(folder: Path) -> None:
    """Recordings of 8 s of speech, and photographs' likes: smooth colours with noise."""
    folder.mkdir(parents=True, exist_ok=True)
    speech, random = spoken(), np.random.default_rng(0)
    for number in range(SHOTS):
        made(folder / f"{number}.flac", (0.0, speech), (len(speech) / 16000 + 0.1 * number, speech))
        low = random.integers(0, 255, (12, 16, 3), np.uint8)
        smooth = np.asarray(Image.fromarray(low).resize((SIDE, SIDE * 3 // 4), Image.Resampling.BICUBIC), np.int16)
        noisy = (smooth + random.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number}.jpg", quality=90)


def _whisper(folder: Path, tiny: bool) -> None:
    """openai/whisper-tiny by its config: 39 million parameters; tiny: 50,000."""
    folder.mkdir()
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64} if tiny else {"d_model": 384}
    layers, heads = (1, 2) if tiny else (4, 6)
    full = {} if tiny else {"encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536}
    rows = len(PIECES) if tiny else 51_865
    vocabulary = {piece: n for n, piece in enumerate(PIECES)}
    number = vocabulary.__getitem__
    end = number("<|endoftext|>")
    plain = {piece: n for piece, n in vocabulary.items() if n <= end}
    (folder / "vocab.json").write_text(json.dumps(plain))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = hub.WhisperTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:8]})
    tokenizer.add_tokens(SPECIAL[8:])
    hub.WhisperProcessor(hub.WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    ends = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": end + 1}
    network = hub.WhisperForConditionalGeneration(
        hub.WhisperConfig(
            vocab_size=rows,
            **{**sizes, **full},
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            begin_suppress_tokens=None,
            suppress_tokens=None,
            **ends,
        )
    )
    network.generation_config = hub.GenerationConfig(
        **ends,
        is_multilingual=True,
        lang_to_id={"<|en|>": number("<|en|>")},
        task_to_id={"transcribe": number("<|transcribe|>")},
        no_timestamps_token_id=number("<|notimestamps|>"),
        max_length=WORDS + 4,
        suppress_tokens=[end],  # so that each text has WORDS tokens; most of them no tokenizer of ours can spell
    )
    network.save_pretrained(folder)


def _captioner(folder: Path, tiny: bool) -> None:
    """nlpconnect/vit-gpt2-image-captioning by its config: 239 million parameters."""
    folder.mkdir()
    tokenizer = word_tokenizer()
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    writer = {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": len(tokenizer)} if tiny else {"vocab_size": 50_257}
    network = encoder_decoder(
        hub.ViTConfig(**(small if tiny else {})), hub.GPT2Config(add_cross_attention=True, **writer, **ends)
    )
    for part in (network, hub.ViTImageProcessor(), tokenizer):
        part.save_pretrained(folder)
