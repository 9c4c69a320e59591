"""Decoder architectures of the hub as tiny random checkpoints: how to make one, and what our own code writes with it.

`python -m tests.tasks.generate.architectures` tries all of them and writes the table RESULTS.md: run it when a new
release of transformers is tried. It knows configs and the library's generate(); it does not know our own reading.
"""

import copy
import inspect
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tasks.algorithm import Call
from tasks.generate import habits, rows
from tasks.generate.hf import Model
from tasks.registry import Registry

RESULTS = Path(__file__).with_name("RESULTS.md")
STORIES = Registry.default().model("generate", "stories").weights_path()
KINDS = ("float64", "float32")
WRITTEN = 8  # tokens
PORTION = 16  # tokens of a prompt that are read at once, so that a long one has several
PROMPTS = ("Once upon a time", "Lily and Tom went to the park and saw a big red ball. They", "The")
LONG = "Lily and Tom went to the park. " * 60  # cut to what the context has room for
WINDOW = 6  # tokens that a sliding window or a chunk has

# Names of the same size in the configs of all architectures.
SIZES = {
    32: "hidden_size d_model n_embd embedding_size lru_width moe_intermediate_size shared_expert_intermediate_size "
    "expert_ffn_hidden_size emb_dim",
    64: "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim ffn_hidden_size n_inner intermediate_dim "
    "attention_hidden_size",
    3: "num_hidden_layers num_layers n_layer n_layers decoder_layers encoder_layers",
    4: "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads num_local_experts "
    "num_experts n_routed_experts mamba_n_heads mamba_d_conv linear_num_value_heads rotary_dim",
    2: "num_experts_per_tok num_key_value_heads linear_num_key_heads index_n_heads eos_token_id",
    8: "head_dim qk_rope_head_dim qk_nope_head_dim v_head_dim state_size mamba_d_state linear_key_head_dim "
    "linear_value_head_dim index_topk",
    16: "q_lora_rank kv_lora_rank mamba_d_head index_head_dim",
    1: "n_group topk_group first_k_dense_replace mamba_n_groups bos_token_id",
    0: "pad_token_id",
    WINDOW: "sliding_window attention_window_size attention_chunk_size",
    128: "max_position_embeddings n_positions max_seq_len",
    512: "vocab_size",
}
TINY = {name: size for size, names in SIZES.items() for name in names.split()} | {"is_decoder": True}
MIXED = ["linear_attention", "full_attention", "linear_attention"]
MULTIHEAD = {"num_key_value_heads": 4}  # as many keys as queries
QWEN = {"vocab_size": 520}  # their tokenizer adds some of its own
OWN: dict[str, dict[str, Any]] = {
    "axk1": MULTIHEAD,
    "axk2": MULTIHEAD,
    "bailing_hybrid": {"layer_types": MIXED, **MULTIHEAD},
    "bamba": {"attn_layer_indices": [1]},
    "cpmant": {"dim_head": 8, "dim_ff": 64, "position_bias_num_buckets": 32, "prompt_length": 4, "prompt_types": 4},
    "ctrl": {"dff": 64},
    "dbrx": {
        "attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": MULTIHEAD,
    "deepseek_v3": MULTIHEAD,
    "deepseek_v32": MULTIHEAD,
    "dots1": {"num_experts_per_tok": 2, "n_shared_experts": 1},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2, "moe_num_shared_experts": 1},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3": {
        "mm_tokens_per_image": 4,
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 28,
            "patch_size": 14,
        },
    },
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "vocab_size_per_layer_input": 512,
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0, 0.0, 0.0],
        "altup_num_inputs": 2,
    },
    "gemma4_text": {"vocab_size_per_layer_input": 512, "hidden_size_per_layer_input": 8, "global_head_dim": 8},
    "glm4_moe_lite": MULTIHEAD,
    "glm_moe_dsa": MULTIHEAD,
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]], "window_size": WINDOW},
    "granitemoehybrid": {"layer_types": MIXED, "shared_intermediate_size": 32},
    "jamba": {"attn_layer_period": 3, "attn_layer_offset": 1, "expert_layer_period": 2, "use_mamba_kernels": False},
    "kimi_linear": {"layer_types": MIXED, "linear_head_dim": 8, "linear_num_heads": 4, **MULTIHEAD},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1},
    "longcat_flash": MULTIHEAD,
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "minicpm3": MULTIHEAD,
    "qwen2": QWEN,
    "qwen3_5_moe_text": {"layer_types": MIXED, **QWEN},
    "qwen3_5_text": {"layer_types": MIXED},
    "qwen3_next": {"layer_types": MIXED},
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 16],
        "attn_layers": ["local", "lsh", "local"],
        "attention_head_size": 8,
        "feed_forward_size": 64,
        "hash_seed": 1,
        "num_buckets": 8,
        "local_attn_chunk_length": 16,
        "lsh_attn_chunk_length": 16,
    },
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32},
    "rwkv": {"attention_hidden_size": 32, "context_length": 128},
    "roc_bert": {"shape_embed_dim": 8, "pronunciation_embed_dim": 8, "pronunciation_vocab_size": 16},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "xlm": {"n_langs": 1, "causal": True},
    "xlnet": {"d_inner": 64, "d_head": 8},
    "youtu": MULTIHEAD,
    "zamba": {
        "num_hidden_layers": 6,
        "attn_layer_period": 3,
        "attn_layer_offset": 2,
        "n_mamba_heads": 2,
        "use_mamba_kernels": False,
        **MULTIHEAD,
    },
    "zamba2": {
        "num_hidden_layers": 5,
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid", "linear_attention"],
        "n_mamba_heads": 4,
        **MULTIHEAD,
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "original_max_position_embeddings": 10,  # which a short prompt with its text passes
    "factor": 6.4,
}
VARIANTS = {  # settings that change how an architecture reads
    "llama-dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}, "max_position_embeddings": 32},
    ),
    "phi3-longrope": ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 10}),
    "falcon-alibi": ("falcon", {"alibi": True}),
}
NESTED = {  # models of several inputs whose text decoder answers; the decoder's own name
    "fuyu": "persimmon",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "got_ocr2": "qwen2",
    "llama4": "llama4_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
}
SIGHT = {
    "image_size": 28,
    "patch_size": 14,
    "depth": 2,
    "out_hidden_size": 32,
    "embed_dim": 32,
    "vision_output_dim": 32,
}
NO_TINY = "no tiny checkpoint of it that the library itself runs has been made yet"
OTHERS = "answers from pictures, sound or bytes, and no tiny checkpoint of it has been made yet"
LEFT_OUT = {
    **dict.fromkeys(
        ("cohere_compass_text", "dots3_note_text", "qwen4_exp_text", "reformer", "xlstm", "zamba"), NO_TINY
    ),
    **dict.fromkeys(("blt", "dots3_note", "emu3", "gemma3n", "gemma4_assistant", "gemma4_unified", "git"), OTHERS),
    **dict.fromkeys(("gemma4_unified_assistant", "moss_transcribe_diarize", "musicgen", "musicgen_melody"), OTHERS),
    **dict.fromkeys(("mllama", "phi4_multimodal", "qwen4_exp"), OTHERS),
}
REFUSED = ("cpmant", "prophetnet", "xlnet")  # read in both directions, so that their scores depend on what follows
ARCHITECTURES = tuple(sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *VARIANTS} - {*LEFT_OUT, *REFUSED}))


def config_of(name: str) -> PreTrainedConfig:
    """The tiny config of an architecture."""
    known, more = VARIANTS.get(name, (name, {}))
    kind = type(AutoConfig.for_model(known))
    if name in NESTED:
        parts = {part: _sized(of, TINY | SIGHT) for part, of in kind.sub_configs.items()}
        return kind(**parts | OWN.get(name, {}) | {"text_config": config_of(NESTED[name]).to_dict()})
    return kind(**_sized(kind, TINY) | OWN.get(known, {}) | more)


def _sized(kind: type[PreTrainedConfig], sizes: dict[str, Any]) -> dict[str, Any]:
    takes = {*inspect.signature(kind.__init__).parameters, *getattr(kind, "__dataclass_fields__", ())}
    return {name: size for name, size in sizes.items() if name in takes}


def made(name: str, folder: Path) -> None:
    """A checkpoint of random weights, large enough that every token changes what follows."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config_of(name))
    for weights in model.parameters():
        weights.data = (
            torch.randn_like(weights) * 0.3 if weights.ndim > 1 else weights + torch.randn_like(weights) * 0.1
        )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(STORIES).save_pretrained(folder)


def loaded(folder: Path, kind: str) -> Model:
    """As our own code loads it; texts are the tokens' numbers, and none ends a text."""
    with patch.object(habits, "DOUBLE", habits.DOUBLE if kind == "float64" else 0):
        model = Model.load(folder, "cpu")
    model._speller = lambda prompt: lambda token: f"{token} "  # type: ignore[method-assign]  # babble spells nothing
    model.ends = frozenset()
    return model


class Own:
    """The tokens that generate() of the library writes, each prompt by a model that has read nothing before."""

    def __init__(self, folder: Path, kind: torch.dtype) -> None:
        self.fresh: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(kind).eval()
        self.known: dict[tuple[int, ...], str] = {}

    def text(self, prompt: list[int]) -> str:
        key = tuple(prompt)
        if key not in self.known:
            read = torch.tensor([prompt])
            whole = copy.deepcopy(self.fresh).generate(
                read,
                attention_mask=torch.ones_like(read),
                do_sample=False,
                max_new_tokens=WRITTEN,
                min_new_tokens=WRITTEN,
                eos_token_id=None,
            )
            self.known[key] = "".join(f"{token} " for token in whole[0, len(prompt) :].tolist())
        return self.known[key]


@dataclass(frozen=True)
class Seen:
    """What one architecture did: its cells of the table; `wrong` are the cells that differ from generate()."""

    name: str
    cache: str
    kind: str
    reads: str
    cells: dict[str, str]

    @property
    def wrong(self) -> dict[str, str]:
        return {what: cell for what, cell in self.cells.items() if cell != "same"}


def tried(name: str, kind: str, folder: Path) -> Seen:
    """Alone, in a batch of unequal prompts and with n = 3, each with short prompts and with one that fills the context
    (or has 120 tokens)."""
    made(name, folder)
    with patch.object(rows, "PORTION", PORTION):
        model = loaded(folder, kind)
        own = Own(folder, model.model.dtype)
        tokens = model.tokenizer(LONG)["input_ids"][: min(model.context or 128, 128) - WRITTEN]
        long = model.tokenizer.decode(tokens[1:])
        batch = [*PROMPTS, long]
        cells = {
            "alone": _compared(model, own, [[prompt] for prompt in batch]),
            "batch": _compared(model, own, [batch]),
            "n = 3": _compared(model, own, [[PROMPTS[1]], [long]], n=3),
        }
    found = model.habits
    reads = "in one pass" if found.joins else "row by row"
    if found.kept.places:
        reads += ", with the state of its modules"
    cache = sorted({type(layer).__name__ for layer in getattr(_cache(model), "layers", [])}) or ["none"]
    return Seen(name, ", ".join(cache), str(model.model.dtype).removeprefix("torch."), reads, cells)


def _cache(model: Model) -> Any:
    row = rows.Row(model.model, model.habits)
    return next((carried for carried in row.carried.values() if hasattr(carried, "layers")), None)


def _compared(model: Model, own: Own, batches: list[list[str]], n: int = 1) -> str:
    params = {"temperature": 0, "max_tokens": WRITTEN, "n": n}
    for batch in batches:
        outcomes = model.run([Call.of("generate", params, prompt=prompt) for prompt in batch])
        for prompt, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                return f"error: {outcome}"
            wanted = own.text(model.tokenizer(prompt)["input_ids"])
            texts = [choice["text"] for choice in outcome.value["choices"]]
            if texts != [wanted] * n:
                return f"differs after {len(prompt)} characters: {texts} is not {wanted}"
    return "same"


def untried() -> list[str]:
    """Architectures that transformers knows as decoders, and that neither the list nor LEFT_OUT has."""
    return sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES} - {*ARCHITECTURES, *REFUSED, *LEFT_OUT})


def table() -> Iterator[str]:
    yield "# Decoder architectures, tried as tiny random checkpoints"
    yield ""
    yield (
        f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}; written by "
        "`python -m tests.tasks.generate.architectures`. `same`: greedily, the tokens are those of the library's own "
        "`generate()`, with short prompts and with one that fills the context, which is read in portions where the "
        "model allows it. Numbers: a model of up to 64 million parameters computes in float64 where its code can."
    )
    yield ""
    yield "| architecture | cache | numbers | rows are read | alone | batch | n = 3 |"
    yield "|---|---|---|---|---|---|---|"
    for name in ARCHITECTURES:
        done = ""
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    seen = tried(name, kind, Path(folder))
                    row = [name, seen.cache, seen.kind, seen.reads, *seen.cells.values()]
                except Exception as error:
                    row = [name, "", kind, "", f"{type(error).__name__}: {error}"[:200].replace("\n", " "), "", ""]
            if row[2] != done:
                yield f"| {' | '.join(row)} |"
            done = row[2]
    yield ""
    yield f"Refused, since they read in both directions: {', '.join(REFUSED)}."
    yield ""
    yield "Not tried: " + "; ".join(f"{name} ({why})" for name, why in sorted(LEFT_OUT.items())) + "."
    yield ""
    yield f"Untried, since transformers has them and the list does not: {', '.join(untried()) or 'none'}."


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with RESULTS.open("w") as results:
        for line in table():
            print(line, file=results, flush=True)
            print(line, file=sys.stderr)
