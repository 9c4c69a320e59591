"""Folders of the hub's form that are broken: each is refused once, for good, in one sentence with the next step.

The quick ones run in make test, all of them in make test-checkpoints. Networks are tiny and at random; whatever is
wrong is wrong on disk, and is loaded by the algorithm that would serve it.
"""

import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from tasks.algorithm import implementation
from tasks.errors import ModelFailed
from tasks.pretrained import load_network
from tests.tasks.made_folders import (
    POINTER,
    SMALL,
    SPEECH,
    STORIES,
    WHISPER,
    Broken,
    configured,
    cut,
    gone,
    instead,
    more_tokens,
    put,
    save,
    sharded,
    tensors,
    tokens_of,
    without_head,
)

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
    "quantised without a method": (HF, configured(quantization_config={"bits": 4}), "has no quant_method"),
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
    "whole numbers": (
        HF,
        tensors(lambda found: {name: (value * 100).to(torch.int64) for name, value in found.items()}),
        "are of type I64",
    ),
    "LoRA in the file": (
        HF,
        tensors(lambda found: {**found, "base_model.model.layers.0.q_proj.lora_A.weight": torch.ones(2, 64)}),
        "the safetensors hold an adapter (LoRA) that would be ignored",
    ),
    "LoRA alone": (HF, instead("config.json", "adapter_config.json", "{}"), "holds an adapter (LoRA)"),
    "GGUF alone": (
        HF,
        lambda folder: (gone("config.json", "model.safetensors")(folder), put("x.Q8_0.gguf", b"GGUF")(folder)),
        "GGUF, the format of llama.cpp",
    ),
    "tokenizer of code": (
        HF,
        put("tokenizer_config.json", '{"tokenizer_class": "Quux", "auto_map": {"AutoTokenizer": ["quux.T", null]}}'),
        "their tokenizer is Python code in the folder, which is never run",
    ),
    "settings a pointer": (HF, put("generation_config.json", POINTER), "generation_config.json is a Git LFS pointer"),
    "link to nothing": (
        HF,
        lambda folder: ((folder / "model.safetensors").unlink(), (folder / "model.safetensors").symlink_to("/gone/x")),
        "the folder has no model.safetensors",
    ),
    "encoder, named oddly": (
        HF,
        save("BertForMaskedLM", BERT, architectures="BertForMaskedLM"),
        "config.json says BertForMaskedLM",
    ),
    "one norm gone": (
        HF,
        tensors(lambda found: {name: value for name, value in found.items() if name != "model.norm.weight"}),
        "lack 1 tensor of a LlamaForCausalLM (model.norm.weight); save the network whole",
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


def with_old_constants(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As GPT-2's first releases were saved: no prefix, masks, and a head of another task beside it."""
    named = {name.removeprefix("transformer."): value for name, value in found.items()}
    masks = {"h.0.attn.bias": torch.ones(1, 1, 32, 32), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    return {**named, **masks, "v_head.summary.weight": torch.ones(1, 16)}


WHOLE: dict[str, tuple[str, Broken]] = {
    "as saved": ("AutoModelForCausalLM", lambda folder: None),
    "in shards": ("AutoModelForCausalLM", sharded(lambda folder: None)),
    "tied": ("AutoModelForCausalLM", save("LlamaForCausalLM", {**SMALL, "tie_word_embeddings": True})),
    "base of a tied network": ("AutoModelForCausalLM", save("GPT2Model", GPT2)),
    "constants and heads of others": (
        "AutoModelForCausalLM",
        lambda folder: (save("GPT2LMHeadModel", GPT2)(folder), tensors(with_old_constants)(folder)),
    ),
    "without what masks speech in training": (
        "AutoModelForCTC",
        save("Wav2Vec2ForCTC", SPEECH, lambda name: "masked_spec_embed" not in name),
    ),
    "with what pretraining leaves": (
        "AutoModelForCTC",
        lambda folder: (
            save("Wav2Vec2ForCTC", SPEECH)(folder),
            tensors(lambda found: {**found, "project_q.weight": torch.ones(2, 2)})(folder),
        ),
    ),
    "whisper's base": ("AutoModelForSpeechSeq2Seq", save("WhisperModel", WHISPER)),
    "double precision": (
        "AutoModelForCausalLM",
        tensors(lambda found: {name: value.double() for name, value in found.items()}),
    ),
    "half precision": (
        "AutoModelForCausalLM",
        tensors(lambda found: {name: value.to(torch.bfloat16) for name, value in found.items()}),
    ),
    "no architectures": ("AutoModelForCausalLM", configured(architectures=None)),
    "architectures of another program": ("AutoModelForCausalLM", configured(architectures=["LLaMAForCausalLM"])),
    "code beside a known architecture": (
        "AutoModelForCausalLM",
        configured(auto_map={"AutoModelForCausalLM": "modeling_quux.Quux"}),
    ),
}


@pytest.mark.checkpoints
@pytest.mark.parametrize(("auto", "made"), WHOLE.values(), ids=WHOLE)
def test_a_whole_folder_is_loaded(tmp_path, auto, made):
    """Harmless differences are no reason to refuse; all numbers are those of the file, so two loads are one network."""
    shutil.copytree(STORIES, tmp_path / "weights")
    made(tmp_path / "weights")
    networks = [load_network(tmp_path / "weights", getattr(transformers, auto), torch.float32) for _ in range(2)]
    one, other = (network.state_dict() for network in networks)
    spare = {name for name in one if name.endswith("masked_spec_embed")}
    assert len(one) > 10 and all(torch.equal(one[name], other[name]) for name in one if name not in spare)


@pytest.mark.checkpoints
def test_a_missing_pooler_changes_no_caption(tmp_path):
    """ViT + GPT-2 as published lacks it; what the decoder reads of the encoder is the same."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "vocab.json").write_text("{}")
    torch.manual_seed(0)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**VIT), transformers.GPT2Config(**GPT2, add_cross_attention=True)
    )
    transformers.VisionEncoderDecoderModel(config).save_pretrained(folder)
    picture, start = torch.ones(1, 3, 32, 32), torch.tensor([[1]])
    whole = load_network(folder, transformers.AutoModelForImageTextToText, torch.float32)
    tensors(lambda found: {name: value for name, value in found.items() if ".pooler." not in name})(folder)
    lacking = load_network(folder, transformers.AutoModelForImageTextToText, torch.float32)
    assert any(".pooler." in name for name in lacking.state_dict())
    scores = [network(pixel_values=picture, decoder_input_ids=start).logits for network in (whole, lacking)]
    assert torch.equal(*scores)


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
