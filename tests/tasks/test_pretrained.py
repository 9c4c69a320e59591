"""Folders of the hub's form that are broken: each is refused once, for good, in one sentence with the next step.

The quick ones run in make test, all of them in make test-checkpoints. Networks are tiny and at random; whatever is
wrong is wrong on disk, and is loaded by the algorithm that would serve it.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tasks.algorithm import implementation
from tasks.errors import ModelFailed
from tasks.registry import Registry

STORIES = Registry.default().model("generate", "stories").weights_path()
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 1057344\n"
SMALL = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SPEECH = {
    **SMALL,
    "conv_dim": (16,),
    "conv_stride": (5,),
    "conv_kernel": (10,),
    "num_feat_extract_layers": 1,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "pad_token_id": 0,
}
WHISPER = {
    "vocab_size": 64,
    "num_mel_bins": 16,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_source_positions": 50,
    "max_target_positions": 16,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1),
}
Broken = Callable[[Path], object]


def save(network: str, config: dict[str, Any], kept: Callable[[str], bool] = lambda name: True, **more: Any) -> Broken:
    """Saves a network of transformers, without the tensors not `kept`; `more` changes its config.json afterwards."""

    def write(folder: Path) -> None:
        shutil.rmtree(folder)
        torch.manual_seed(0)
        made = getattr(transformers, network)
        made(made.config_class(**config)).save_pretrained(folder)
        (folder / "vocab.json").write_text("{}")
        tensors(lambda found: {name: value for name, value in found.items() if kept(name)})(folder)
        configured(**more)(folder)

    return write


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Broken:
    def write(folder: Path) -> None:
        changed = change(load_file(folder / "model.safetensors"))
        save_file({name: value.clone() for name, value in changed.items()}, folder / "model.safetensors")

    return write


def configured(**more: Any) -> Broken:
    """None takes a field out."""

    def write(folder: Path) -> None:
        config = {**json.loads((folder / "config.json").read_text()), **more}
        kept = {name: value for name, value in config.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept))

    return write


def put(name: str, content: str | bytes) -> Broken:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def instead(name: str, other: str, content: str | bytes) -> Broken:
    """A file in the place of another."""
    return lambda folder: ((folder / name).unlink(), put(other, content)(folder))


def gone(*names: str) -> Broken:
    return lambda folder: [(folder / name).unlink() for name in names]


def cut(name: str, share: float) -> Broken:
    def write(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(len(whole) * share)])

    return write


def sharded(then: Broken) -> Broken:
    """The stories' weights in four files with their index."""

    def write(folder: Path) -> None:
        network = AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        network.save_pretrained(folder, max_shard_size="300KB")
        then(folder)

    return write


def more_tokens(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<one>", "<two>"])
    tokenizer.save_pretrained(folder)


def tokens_of(count: int) -> Broken:
    """A tokenizer of so many words beside the network."""

    def write(folder: Path) -> None:
        made = transformers.PreTrainedTokenizerFast.from_pretrained(STORIES)
        model = json.loads(made.backend_tokenizer.to_str())
        model["model"] = {"type": "WordLevel", "vocab": {f"w{n}": n for n in range(count)}, "unk_token": "w0"}
        model["added_tokens"] = []
        model["post_processor"] = None
        (folder / "tokenizer.json").write_text(json.dumps(model))

    return write


def without_head(name: str) -> bool:
    return not name.startswith("lm_head")


INDEX = "model.safetensors.index.json"
HF, CTC, WHISPERS, CAPTION = ("generate", "hf"), ("transcribe", "ctc"), ("transcribe", "whisper"), ("caption", "hf")
BERT, GPT2 = SMALL, {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
VIT = {**{name: size for name, size in SMALL.items() if name != "vocab_size"}, "image_size": 32, "patch_size": 16}

QUICK: dict[str, tuple[tuple[str, str], Broken, str]] = {
    "empty": (HF, lambda folder: [path.unlink() for path in folder.iterdir()], "has no config.json (it is empty)"),
    "no folder": (HF, shutil.rmtree, "is not on this worker"),
    "config gone": (WHISPERS, gone("config.json"), "has no config.json"),
    "config no JSON": (CTC, put("config.json", '{"model_type": '), "config.json is not JSON"),
    "config a list": (CAPTION, put("config.json", "[1]"), "config.json is not a JSON object"),
    "config a pointer": (HF, put("config.json", POINTER), "config.json is a Git LFS pointer"),
    "no model_type": (HF, configured(model_type=None), "has no model_type"),
    "model_type unheard of": (
        HF,
        configured(model_type="quux"),
        f"transformers {transformers.__version__} knows no model_type 'quux'",
    ),
    "code": (
        HF,
        configured(model_type="quux", auto_map={"AutoConfig": "quux.Config"}),
        "Python code in the folder, which is never run",
    ),
    "weights a pointer": (HF, put("model.safetensors", POINTER), "Git LFS pointer, not the file itself; run `git lfs"),
    "weights cut": (HF, cut("model.safetensors", 0.7), "model.safetensors (731,494 bytes) is cut short"),
    "weights empty": (HF, put("model.safetensors", b""), "model.safetensors is empty"),
    "weights another format": (HF, put("model.safetensors", b"PK\x03\x04" * 100), "or no safetensors file"),
    "weights gone": (HF, gone("model.safetensors"), "has no model.safetensors"),
    "bin": (HF, instead("model.safetensors", "pytorch_model.bin", b"PK"), "a pickle of PyTorch (.bin), and only"),
    "gguf": (HF, instead("model.safetensors", "model-Q4_K_M.gguf", b"GGUF"), "GGUF, the format of llama.cpp"),
    "other name": (
        HF,
        lambda folder: (folder / "model.safetensors").rename(folder / "weights.safetensors"),
        "weights.safetensors and no model.safetensors; rename",
    ),
    "LoRA": (HF, put("adapter_config.json", "{}"), "holds an adapter (LoRA), which would be ignored; merge it"),
    "GPTQ": (
        HF,
        configured(quantization_config={"quant_method": "gptq", "bits": 4}),
        "quantised by gptq, which needs the Python packages gptqmodel and optimum",
    ),
    "quantised somehow": (
        HF,
        configured(quantization_config={"quant_method": "quux"}),
        f"quantised by 'quux', which the worker's transformers {transformers.__version__} does not know",
    ),
    "fewer layers": (HF, configured(num_hidden_layers=9), "lack 36 tensors of a LlamaForCausalLM"),
    "more layers": (HF, configured(num_hidden_layers=3), "hold 18 tensors that config.json leaves no place for"),
    "tokenizer gone": (HF, gone("tokenizer.json"), "the folder has no tokenizer; copy tokenizer.json"),
    "tokenizer cut": (HF, cut("tokenizer.json", 0.5), "the tokenizer cannot be read"),
    "more tokens": (HF, more_tokens, "go up to number 513, and the network has 512"),
}
SLOW: dict[str, tuple[tuple[str, str], Broken, str]] = {
    "weights longer": (
        HF,
        lambda folder: (folder / "model.safetensors").open("ab").write(b"more"),
        "is cut short or no safetensors file",
    ),
    "weights cut in the header": (HF, cut("model.safetensors", 0.001), "is cut short or no safetensors file"),
    "tokenizer a pointer": (HF, put("tokenizer.json", POINTER), "tokenizer.json is a Git LFS pointer"),
    "tokenizer an object": (HF, put("tokenizer.json", "{}"), "the tokenizer cannot be read"),
    "shard gone": (
        HF,
        sharded(gone("model-00002-of-00004.safetensors")),
        "lacks model-00002-of-00004.safetensors of the 4 files",
    ),
    "shard cut": (HF, sharded(cut("model-00003-of-00004.safetensors", 0.5)), "model-00003-of-00004.safetensors ("),
    "shard of no tensor": (
        HF,
        sharded(lambda folder: save_file({}, folder / "model-00003-of-00004.safetensors")),
        "tensors of a LlamaForCausalLM (",
    ),
    "index gone": (HF, sharded(gone(INDEX)), f"has shards but no {INDEX}"),
    "index cut": (HF, sharded(cut(INDEX, 0.5)), f"{INDEX} is not JSON"),
    "index of nothing": (HF, sharded(put(INDEX, '{"metadata": {}, "weight_map": {}}')), "has no weight_map"),
    "index of other files": (
        HF,
        sharded(put(INDEX, '{"metadata": {}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}')),
        "lacks a.safetensors, b.safetensors of the 2 files",
    ),
    "index that climbs": (
        HF,
        sharded(put(INDEX, '{"metadata": {}, "weight_map": {"a": "../a.safetensors"}}')),
        "names files outside the folder",
    ),
    "AWQ": (CTC, save("Wav2Vec2ForCTC", SPEECH, quantization_config={"quant_method": "awq"}), "gptqmodel"),
    "4 bits": (HF, configured(quantization_config={"load_in_4bit": True}), "packages bitsandbytes and accelerate"),
    "FP8": (HF, configured(quantization_config={"quant_method": "fp8"}), "the Python package accelerate"),
    "MXFP4": (HF, configured(quantization_config={"quant_method": "mxfp4"}), "packages accelerate and kernels"),
    "HQQ": (HF, configured(quantization_config={"quant_method": "hqq"}), "HQQ"),
    "EETQ": (HF, configured(quantization_config={"quant_method": "eetq"}), "the Python package kernels"),
    "quantised without a method": (HF, configured(quantization_config={"bits": 4}), "quantised by 'None'"),
    "compressed": (
        HF,
        configured(compression_config={"quant_method": "compressed-tensors"}),
        "packages compressed_tensors and accelerate",
    ),
    "8 bits and no word of it": (
        HF,
        tensors(lambda found: {name: (value * 100).to(torch.int8) for name, value in found.items()}),
        "are of type I8, as quantised tensors are",
    ),
    "float8 and no word of it": (
        HF,
        tensors(lambda found: {name: value.to(torch.float8_e4m3fn) for name, value in found.items()}),
        "are of type F8_E4M3",
    ),
    "one norm gone": (
        HF,
        tensors(lambda found: {name: value for name, value in found.items() if name != "model.norm.weight"}),
        "lack 1 tensors of a LlamaForCausalLM (model.norm.weight); save the network whole",
    ),
    "NaN": (
        HF,
        tensors(lambda found: {**found, "model.norm.weight": found["model.norm.weight"] * torch.nan}),
        "model.norm.weight has a number that is not finite",
    ),
    "infinity": (
        HF,
        tensors(lambda found: {name: value * 1e39 for name, value in found.items()}),
        "has a number that is not finite",
    ),
    "other size": (
        HF,
        configured(intermediate_size=100),
        "the shape 64x172 in the file and 64x100 by config.json; take the config",
    ),
    "sizes that do not fit": (HF, configured(num_attention_heads=7), "not a multiple of the number of attention heads"),
    "a size in words": (HF, configured(num_hidden_layers="five"), "cannot make a network of them"),
    "activation unheard of": (HF, configured(hidden_act="quux"), "cannot make a network of them (KeyError: 'quux')"),
    "biases config leaves out": (
        HF,
        save("LlamaForCausalLM", {**SMALL, "attention_bias": True}, attention_bias=False),
        "hold 8 tensors that config.json leaves no place for",
    ),
    "head gone": (
        HF,
        save("LlamaForCausalLM", SMALL, without_head),
        "(lm_head.weight); this is the base without its head",
    ),
    "tied, both gone": (
        HF,
        save("LlamaForCausalLM", {**SMALL, "tie_word_embeddings": True}, lambda name: "embed_tokens" not in name),
        "model.embed_tokens.weight",
    ),
    "base": (HF, save("LlamaModel", SMALL), "this is the base without its head"),
    "base, unprefixed, of fewer layers": (HF, save("GPT2Model", GPT2, n_layer=3), "h.2."),
    "base, unprefixed, of more layers": (HF, save("GPT2Model", GPT2, n_layer=1), "config.json leaves no place for"),
    "classifier": (
        HF,
        save("GPT2ForSequenceClassification", GPT2),
        "config.json says GPT2ForSequenceClassification, which is no causal language model; take",
    ),
    "encoder": (HF, save("BertForMaskedLM", BERT), "config.json says BertForMaskedLM, which is no causal"),
    "encoder, unnamed": (
        HF,
        lambda folder: (save("BertForMaskedLM", BERT, architectures=None)(folder), tokens_of(40)(folder)),
        "reads in both directions, as an encoder does",
    ),
    "encoder's base": (HF, save("BertModel", BERT), "this is the base without its head"),
    "sequence to sequence": (
        HF,
        save("T5ForConditionalGeneration", {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1}),
        "config.json says T5ForConditionalGeneration, which is no causal language model; take",
    ),
    "vision as generate": (HF, save("ViTForImageClassification", VIT), "which is no causal language model"),
    "whisper as generate": (
        HF,
        save("WhisperForConditionalGeneration", WHISPER),
        "no causal language model; serve it by an entry of models.toml for transcribe by whisper",
    ),
    "whisper as ctc": (
        CTC,
        save("WhisperForConditionalGeneration", WHISPER),
        "no CTC speech model; serve it by an entry of models.toml for transcribe by whisper",
    ),
    "ctc as whisper": (WHISPERS, save("Wav2Vec2ForCTC", SPEECH), "for transcribe by ctc"),
    "ctc as caption": (CAPTION, save("Wav2Vec2ForCTC", SPEECH), "no model from pictures to text; serve it"),
    "language model as caption": (CAPTION, lambda folder: None, "for generate by hf"),
    "vision as caption": (CAPTION, save("ViTForImageClassification", VIT), "no model from pictures to text; take"),
    "ctc base": (CTC, save("Wav2Vec2Model", SPEECH), "(lm_head.bias, lm_head.weight); this is the base without"),
    "ctc pretraining": (CTC, save("Wav2Vec2ForPreTraining", SPEECH), "config.json says Wav2Vec2ForPreTraining"),
    "ctc without head": (CTC, save("Wav2Vec2ForCTC", SPEECH, without_head), "this is the base without its head"),
    "ctc of fewer layers": (CTC, save("HubertForCTC", SPEECH, num_hidden_layers=3), "tensors of a HubertForCTC ("),
    "ctc without processor": (CTC, save("Wav2Vec2ForCTC", SPEECH), "the processor cannot be read"),
    "whisper of fewer layers": (
        WHISPERS,
        save("WhisperForConditionalGeneration", WHISPER, decoder_layers=2),
        "tensors of a WhisperForConditionalGeneration (model.decoder.layers.1.",
    ),
    "whisper of more layers": (
        WHISPERS,
        save("WhisperForConditionalGeneration", {**WHISPER, "encoder_layers": 2}, encoder_layers=1),
        "config.json leaves no place for (model.encoder.layers.1.",
    ),
    "whisper without processor": (WHISPERS, save("WhisperForConditionalGeneration", WHISPER), "the processor cannot"),
    "BLIP that answers questions": (
        CAPTION,
        save("BlipForQuestionAnswering", {"text_config": SMALL, "vision_config": VIT}),
        "config.json says BlipForQuestionAnswering, which is no model from pictures to text",
    ),
    "BLIP without a decoder": (
        CAPTION,
        save(
            "BlipForConditionalGeneration",
            {"text_config": SMALL, "vision_config": VIT},
            lambda name: not name.startswith("text_decoder"),
        ),
        "tensors of a BlipForConditionalGeneration",
    ),
}


def refusal(folder: Path, served: tuple[str, str], broken: Broken) -> ModelFailed:
    shutil.copytree(STORIES, folder)
    broken(folder)
    with pytest.raises(ModelFailed) as raised:
        implementation(*served).load(folder, "cpu")
    return raised.value


CASES = [pytest.param(*case, id=name) for name, case in QUICK.items()]
CASES += [pytest.param(*case, id=name, marks=pytest.mark.checkpoints) for name, case in SLOW.items()]


@pytest.mark.parametrize(("served", "broken", "told"), CASES)
def test_a_broken_folder_is_refused_for_good_in_a_sentence(tmp_path, served, broken, told):
    """It says what was found and what to do, without a path of the server."""
    error = refusal(tmp_path / "weights", served, broken)
    assert told in error.detail
    assert not error.retryable
    assert re.fullmatch(r"the model's weights cannot be used: [^;\n]+; [^;\n]{10,}", error.detail)
    assert str(tmp_path) not in error.detail and "/tmp" not in error.detail
