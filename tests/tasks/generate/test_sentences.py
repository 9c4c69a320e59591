"""Embedders in sentence-transformers' form: tiny random ones against arithmetic by hand, and a real one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
)

from tasks.algorithm import Call
from tasks.errors import InvalidInput, ModelFailed, TooLarge
from tasks.generate.hf import Model

WORDS = ["query", ":", "a", "dog", "ran", "far", "away", "and", "slept", "under", "the", "old", "tree"]
SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = "the dog ran far away"


def write(folder: Path, pooling: dict, network=BertModel, more=(), **files: dict) -> Path:
    """A folder as SentenceTransformer.save writes it; `more`: modules behind Pooling, `files`: JSON by name."""
    signs = {sign: n for n, sign in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = Tokenizer(models.WordLevel(signs, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=made, **marks).save_pretrained(folder)
    torch.manual_seed(0)
    config = (BertConfig if network is BertModel else LlamaConfig)(vocab_size=len(signs), **SIZE)
    network(config).save_pretrained(folder)
    modules = ["Transformer", "Pooling", *more]
    listed = [
        {"idx": n, "name": str(n), "path": f"{n}_{name}" if n else "", "type": f"sentence_transformers.models.{name}"}
        for n, name in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **pooling}))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def vector(model, text: str = TEXT, **params) -> np.ndarray:
    (result,) = model.run([Call.of("generate", {"mode": "embed", **params}, prompt=text)])
    return np.array(result.value["embedding"])


def hidden(folder: Path, text: str = TEXT) -> np.ndarray:
    """(tokens, width): what the network understands of each token."""
    given = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return (
            AutoModel.from_pretrained(folder, dtype=torch.float32)(input_ids=given.input_ids)
            .last_hidden_state[0]
            .numpy()
        )


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values)


BY_HAND = {
    "cls_token": lambda h: h[0],
    "max_tokens": lambda h: h.max(0),
    "mean_tokens": lambda h: h.mean(0),
    "mean_sqrt_len_tokens": lambda h: h.sum(0) / len(h) ** 0.5,
    "weightedmean_tokens": lambda h: np.average(h, axis=0, weights=np.arange(1, len(h) + 1)),
    "lasttoken": lambda h: h[-1],
}


@pytest.mark.parametrize("network", [BertModel, LlamaModel])
@pytest.mark.parametrize("mode", sorted(BY_HAND))
def test_each_pooling_is_the_checkpoints_own(mode, network, tmp_path):
    """Of an encoder and of a decoder."""
    folder = write(tmp_path, {f"pooling_mode_{mode}": True}, network)
    np.testing.assert_allclose(vector(Model.load(folder, "cpu")), unit(BY_HAND[mode](hidden(folder))), atol=1e-5)


def test_two_poolings_stand_one_behind_the_other(tmp_path):
    """CLS first, as sentence-transformers puts them; also in the form of its release 5, by name."""
    folder = write(tmp_path, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True})
    h = hidden(folder)
    expected = unit(np.concatenate([h[0], h.mean(0)]))
    np.testing.assert_allclose(vector(Model.load(folder, "cpu")), expected, atol=1e-5)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "lasttoken"}))
    np.testing.assert_allclose(vector(Model.load(folder, "cpu")), unit(h[-1]), atol=1e-5)


def test_a_prompt_small_letters_and_a_dense_layer(tmp_path):
    """The default prompt stands before the text; Dense follows on the pooling."""
    prompts = {"prompts": {"query": "query : ", "other": "a "}, "default_prompt_name": "query"}
    files = {
        "config_sentence_transformers": prompts,
        "sentence_bert_config": {"max_seq_length": 64, "do_lower_case": True},
    }
    folder = write(tmp_path, {"pooling_mode_cls_token": True}, more=("Dense", "Normalize"), **files)
    (folder / "2_Dense").mkdir()
    said = {
        "in_features": 16,
        "out_features": 5,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    (folder / "2_Dense" / "config.json").write_text(json.dumps(said))
    weight, bias = torch.randn(5, 16), torch.randn(5)
    save_file({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors")
    expected = np.tanh(weight.numpy() @ hidden(folder, "query : " + TEXT)[0] + bias.numpy())
    np.testing.assert_allclose(vector(Model.load(folder, "cpu"), TEXT.upper()), unit(expected), atol=1e-5)


def test_a_long_text_is_refused_or_its_beginning_read(tmp_path):
    """At max_seq_length tokens and one more."""
    folder = write(tmp_path, {"pooling_mode_mean_tokens": True}, sentence_bert_config={"max_seq_length": 7})
    model = Model.load(folder, "cpu")
    long = TEXT + " and slept"
    fits, refused, cut = model.run(
        [
            Call.of("generate", {"mode": "embed"}, prompt=TEXT),
            Call.of("generate", {"mode": "embed"}, prompt=long),
            Call.of("generate", {"mode": "embed", "on_long_prompt": "cut"}, prompt=long),
        ]
    )
    assert fits.value["usage"]["prompt_tokens"] == 7 and fits.value["warnings"] == []
    assert isinstance(refused, TooLarge) and "9 tokens and this embedder reads 7" in refused.detail
    (strange,) = model.run([Call.of("generate", {"mode": "embed"}, prompt="\u72ac")])
    assert [one["code"] for one in strange.value["warnings"]] == ["out_of_domain"]
    assert cut.value["embedding"] == fits.value["embedding"]
    assert [one["code"] for one in cut.value["warnings"]] == ["prompt_cut"]


def test_an_embedder_writes_nothing(tmp_path):
    (refused,) = Model.load(write(tmp_path, {"pooling_mode_mean_tokens": True}), "cpu").run(
        [Call.of("generate", prompt=TEXT)]
    )
    assert isinstance(refused, InvalidInput) and "set mode to 'embed'" in refused.detail


@pytest.mark.parametrize(
    "pooling, more, sentence",
    [
        ({}, (), "its pooling has no mode"),
        ({"pooling_mode": "attention"}, (), "its pooling attention is not served"),
        ({"pooling_mode_mean_tokens": True}, ("LSTM",), "a module LSTM, which is not served"),
        ({"pooling_mode_mean_tokens": True}, ("Dense",), "the folder"),
    ],
)
def test_what_is_not_served_is_refused(pooling, more, sentence, tmp_path):
    with pytest.raises(ModelFailed, match=sentence):
        Model.load(write(tmp_path, pooling, more=more), "cpu")


@pytest.mark.data("weights/all-MiniLM-L6-v2")
def test_a_real_embedder_is_its_library_s_recipe(real_data, tmp_path):
    """all-MiniLM-L6-v2: the mean of the last layer, of length 1; like sentences lie nearer than others."""
    folder = real_data / "weights" / "all-MiniLM-L6-v2"
    model = Model.load(folder, "cpu")
    texts = ["A man is eating food.", "Someone eats a meal.", "The stock market fell today."]
    made = [vector(model, text) for text in texts]
    for text, told in zip(texts, made, strict=True):
        np.testing.assert_allclose(told, unit(hidden(folder, text).mean(0)), atol=1e-5)
    assert made[0] @ made[1] > 0.5 > made[0] @ made[2] + 0.3
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "modules.json").unlink()
    with pytest.raises(ModelFailed):
        Model.load(copy, "cpu")
