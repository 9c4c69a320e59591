"""A prompt, or a conversation, continued by any causal language model of the transformers library.

Wolf et al. (2020), "Transformers: State-of-the-Art Natural Language Processing". Prompts are read one by one, without
padding (rows.py); then one token of every text a pass, where the model allows it (habits.py). Texts that end leave the
batch. It knows folders of safetensors and tokenizer.json; no code of a folder is ever run.

The same seed gives the same text alone. In a batch, the last bits of a score depend on what runs beside it; whether
that can be seen depends on their size. Models of up to 64 million parameters compute in float64, where scores differ
by some 10^-13: a draw falls between them once in some 10^12 tokens, and equal scores, rounded to multiples of 2^-20,
stay equal. Larger models, and those whose code cannot compute in float64 (some mixtures of experts), compute in float32
(on a GPU, in what they were saved in), where that is once in some 10^5 tokens: for these, `batch = 1` in models.toml
gives the same text always. How tokens are chosen is said by the caller, else by the checkpoint (own_sampling.py).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tasks.algorithm import Call
from tasks.errors import InvalidInput
from tasks.generate import NO_TEMPLATE
from tasks.generate.habits import found, untouched
from tasks.generate.language import LanguageModel, cut, fitted, unknown, usable
from tasks.generate.own_sampling import OwnSampling, check_sampling
from tasks.generate.rows import Decoding, Habits
from tasks.generate.sentences import MODULES, Sentences, places
from tasks.generate.writing import Prompt
from tasks.pretrained import check_causal, check_tokens, load_network, load_part

UNBOUNDED = 10**6  # tokenizers that know no limit say one past this
WINDOW = 512  # tokens of a text to embed read at once, where the model would allow for more
KNOWN = 6  # tokens of the text before, by which the next ones are spelt: spaces and split characters depend on them


class Model(LanguageModel):
    """Any causal language model with its tokenizer, from a folder as save_pretrained writes it."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, habits: Habits) -> None:
        self.model, self.tokenizer, self.habits = model, tokenizer, habits
        config = model.config.get_text_config()
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
        known = next((limit for limit in limits if limit and limit > 0), tokenizer.model_max_length)
        self.context = min([known, *places(model)]) if known <= UNBOUNDED else None
        ends = model.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        listed = ends if isinstance(ends, list) else [ends]
        self.ends = frozenset(end for end in listed if type(end) is int)
        self.own = OwnSampling(model)
        if {*listed} - self.ends - {None}:
            self.own.ignored.append("eos_token_id")

    @classmethod
    def load(cls, weights: Path | None, device: str) -> LanguageModel:
        """From a folder with config.json, *.safetensors and a tokenizer; errors: ModelFailed, of one that is not whole
        or of another kind (tasks/pretrained.py). A folder of sentence-transformers embeds alone (sentences.py)."""
        if weights is not None and (weights / MODULES).is_file():
            return Sentences.load(weights, device)
        check_sampling(weights)
        model = load_network(weights, AutoModelForCausalLM, "auto" if device == "cuda" else torch.float32)
        tokenizer = load_part(weights, AutoTokenizer)
        check_tokens(tokenizer, model)
        with untouched(model):
            check_causal(model)
        model = model.to(device).eval()
        return cls(model, tokenizer, found(model))

    def prompt(self, call: Call) -> Prompt:
        whole = tokens = self._tokens(call)
        if not whole:
            raise InvalidInput(
                "the model's tokenizer makes no token of this prompt: its vocabulary has none of the text"
            )
        warnings = [*self.own.warnings(), *unknown(whole, self.tokenizer)]
        if self.context is not None:
            tokens = list(fitted(whole, self.context - 1, call.params.on_long_prompt))
            if whole[0] == self.tokenizer.bos_token_id:
                tokens[0] = whole[0]  # a text that is cut begins like any other
            warnings += cut(len(whole), len(tokens))
        most = min(call.params.max_tokens, (self.context or UNBOUNDED) - len(tokens))
        params, steer = self.own.steer(self.own.params(call.params), tokens, most, self.ends)
        return Prompt(
            tokens,
            len(tokens),
            most,
            lambda: self._speller(tokens),
            self.ends,
            params=params,
            steer=steer,
            warnings=warnings,
        )

    def _tokens(self, call: Call) -> list[int]:
        messages = call.inputs.get("messages")
        if messages is None:
            return self.tokenizer(usable(call.inputs.get("prompt")))["input_ids"]
        if self.tokenizer.chat_template is None:
            raise InvalidInput(NO_TEMPLATE)
        try:
            text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as error:  # a template refuses by raising whatever it likes, in its own words
            raise InvalidInput(f"the model's chat template refuses these messages: {error}"[:500]) from error
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _speller(self, prompt: Sequence[int]) -> Callable[[int], str]:
        """Token by token to text: what each adds to the spelling of the ones before it."""
        recent, told = list(prompt[-KNOWN:]), self._spelt(prompt[-KNOWN:])

        def spell(token: int) -> str:
            nonlocal recent, told
            recent = [*recent, token]
            text = self._spelt(recent)
            if text.endswith("\ufffd"):  # in the middle of a character
                return ""
            fresh = text[len(told) :].replace("\ufffd", "")  # bytes that make no character are left out
            recent = recent[-KNOWN:] if len(recent) > 4 * KNOWN else recent
            told = self._spelt(recent)
            return fresh

        return spell

    def _spelt(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def reading(self, rows: int) -> Decoding:
        return Decoding(self.model, self.habits, rows)

    def embeddable(self, call: Call) -> tuple[list[list[int]], list[dict[str, str]]]:
        windows, warnings = super().embeddable(call)
        tokens = [token for window in windows for token in window]
        return windows, [*warnings, *unknown(tokens, self.tokenizer)]

    def windows(self, text: str) -> list[list[int]]:
        tokens, size = self.tokenizer(text)["input_ids"], min(self.context or WINDOW, WINDOW)
        return [tokens[start : start + size] for start in range(0, len(tokens), size)]

    def pooled(self, windows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        sums = []
        for window in windows:
            given = torch.tensor([list(window)], device=self.model.device)
            self.habits.kept.begin()
            read = self.model(input_ids=given, output_hidden_states=True, use_cache=False).hidden_states[-1]
            sums.append(read[0].double().sum(0).cpu().numpy())
        return np.stack(sums), np.array([float(len(window)) for window in windows])
