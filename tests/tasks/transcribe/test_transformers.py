"""Checkpoints of other people: what transformers' own pipeline says of them, we say. Tiny random ones, on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
    pipeline,
)

from tasks.algorithm import Call
from tasks.errors import InvalidInput, ModelFailed
from tasks.transcribe import ctc, whisper
from tasks.transcribe.listening import shared
from tests.tasks.transcribe.test_audio import SAMPLES, decode, encode

pytestmark = pytest.mark.checkpoints

SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|transcribe|>",
    "<|translate|>",
    "<|startofprev|>",
    "<|notimestamps|>",
]


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """3 s of the reading, int16."""
    return decode(SAMPLES / "reading_female.opus")[int(4.6 * 16_000) : int(7.6 * 16_000)]


@pytest.fixture(scope="module")
def ctc_folder(tmp_path_factory) -> Path:
    """A wav2vec 2.0 of a few thousand random weights, with its real processor's files."""
    folder = tmp_path_factory.mktemp("ctc")
    signs = {sign: n for n, sign in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHR"])}
    (folder / "vocab.json").write_text(json.dumps(signs))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    network = Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=len(signs),
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(16, 16, 16),
            conv_stride=(5, 8, 8),
            conv_kernel=(10, 8, 8),
            num_feat_extract_layers=3,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
            pad_token_id=0,
        )
    )
    torch.nn.init.normal_(network.lm_head.weight, std=3.0)  # so that signs change from step to step
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory) -> Path:
    """A Whisper of a few thousand random weights that knows two languages, with its real processor's files."""
    folder = tmp_path_factory.mktemp("whisper")
    vocabulary = {piece: n for n, piece in enumerate([*sorted(ByteLevel.alphabet()), *SPECIAL])}
    plain = len(vocabulary) - len(SPECIAL)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=30)
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    torch.manual_seed(1)
    network = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(vocabulary),
            num_mel_bins=16,
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_source_positions=1500,
            max_target_positions=48,
            pad_token_id=plain,
            bos_token_id=plain,
            eos_token_id=plain,
            decoder_start_token_id=plain + 1,
            begin_suppress_tokens=None,
            suppress_tokens=None,
        )
    )
    for values in network.parameters():  # so that what is said changes with sound and language
        if values.dim() > 1:
            torch.nn.init.normal_(values, std=0.3)
    silent = [n for piece, n in vocabulary.items() if not (piece.isascii() and piece.isalpha() or piece == "\u0120")]
    settings = {
        "pad_token_id": plain,
        "bos_token_id": plain,
        "eos_token_id": plain,
        "decoder_start_token_id": plain + 1,
        "is_multilingual": True,
        "lang_to_id": {"<|en|>": plain + 2, "<|de|>": plain + 3},
        "task_to_id": {"transcribe": plain + 4, "translate": plain + 5},
        "no_timestamps_token_id": plain + 7,
        "max_length": 20,
        "begin_suppress_tokens": None,
        "suppress_tokens": silent,
        "forced_decoder_ids": None,
    }
    network.generation_config = GenerationConfig(**settings)
    network.save_pretrained(folder)
    return folder


def theirs(folder: Path, sound: np.ndarray, **options: object) -> str:
    """What transformers' pipeline hears in a stretch."""
    heard = pipeline("automatic-speech-recognition", model=str(folder), dtype=torch.float32, device="cpu", **options)
    return " ".join(heard({"raw": sound.astype(np.float32) / 32768, "sampling_rate": 16_000})["text"].split())


def test_ctc_says_what_the_pipeline_says(ctc_folder, speech):
    """Through real files: the same words, in steps that follow one another."""
    params = Call.of("transcribe", audio="x").params
    (words,) = ctc.Model.load(ctc_folder, "cpu").hear([speech], params)
    assert " ".join(word.text for word in words) == theirs(ctc_folder, speech)
    assert len(words) > 3
    assert all(0 <= word.start < word.end <= 3.0 and 0 < word.confidence <= 1 for word in words)
    assert all(one.end <= other.start for one, other in zip(words, words[1:], strict=False))


def test_a_tokenizer_without_word_marks_is_read_too(ctc_folder, speech, tmp_path):
    """The pipeline's text; its words share the stretch."""
    model = ctc.Model.load(ctc_folder, "cpu")
    model.delimiter = None
    (words,) = model.hear([speech], Call.of("transcribe", audio="x").params)
    assert " ".join(word.text for word in words) == theirs(ctc_folder, speech)
    assert words[0].start == 0 and words[-1].end == pytest.approx(3.0)


@pytest.mark.parametrize("language", ["en", "de"])
def test_whisper_says_what_the_pipeline_says(whisper_folder, speech, language):
    """Through real files, greedily, in the language asked for; a stretch says the same alone and beside others."""
    model, params = (
        whisper.Model.load(whisper_folder, "cpu"),
        Call.of("transcribe", {"language": language}, audio="x").params,
    )
    (words,), both = model.hear([speech], params), model.hear([speech[:20_000], speech], params)
    text = " ".join(word.text for word in words)
    asked = {"language": language, "task": "transcribe", "num_beams": 1}
    expected = theirs(whisper_folder, speech, generate_kwargs=asked)
    assert text == expected and len(text) > 5
    assert both[1] == words
    assert all(0 < word.confidence <= 1 for word in words)


def test_languages_are_heard_apart(whisper_folder, speech):
    """The language token reaches the network: random weights say something else for it."""
    model = whisper.Model.load(whisper_folder, "cpu")
    texts = [
        [word.text for word in model.hear([speech], Call.of("transcribe", {"language": language}, audio="x").params)[0]]
        for language in ("en", "de")
    ]
    assert texts[0] != texts[1]


def test_a_language_that_the_checkpoint_lists_not_is_refused(whisper_folder, speech, tmp_path):
    """The answer names those it knows; a whole job in one that it knows makes the four files."""
    path = str(encode(speech, tmp_path, "flac"))
    model = whisper.Model.load(whisper_folder, "cpu")
    wrong, right = model.run([Call.of("transcribe", {"language": language}, audio=path) for language in ("fr", "de")])
    assert isinstance(wrong, InvalidInput) and "de, en" in wrong.detail and "'fr'" in wrong.detail
    assert right.value["language"] == "de" and len(right.files) == 4
    assert json.loads(right.files[0].read_text())["model"] == "whisper"


@pytest.mark.parametrize("algorithm", [ctc, whisper], ids=["ctc", "whisper"])
def test_pickled_weights_are_refused(algorithm, ctc_folder, whisper_folder, tmp_path):
    """A checkpoint whose weights are not safetensors does not load; neither does an empty folder."""
    source = ctc_folder if algorithm is ctc else whisper_folder
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path, tmp_path / "empty"):
        with pytest.raises(ModelFailed, match=r"safetensors|config\.json"):
            algorithm.Model.load(folder, "cpu")


def test_words_share_their_stretch_by_length():
    """Four letters and a space of eight in all, 1.6 s: half of it each."""
    one, two = shared(["abc", "def"], 1.6, 0.5)
    assert (one.start, one.end, two.start, two.end) == pytest.approx((0, 0.8, 0.8, 1.6))
    assert shared([], 1.0, 0.5) == []
