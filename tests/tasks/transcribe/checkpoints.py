"""Speech models of the hub, each class as a tiny checkpoint of random weights with its real processor.

CTC and SEQ2SEQ: name -> a function that writes it into a folder.
"""

import json

import torch
import transformers as hub
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel

SIGNS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHR"]
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|translate|>"]
TIMES = [f"<|{0.02 * n:.2f}|>" for n in range(20)]
SPECIAL += ["<|startofprev|>", "<|notimestamps|>", *TIMES]
PIECES = [*sorted(ByteLevel.alphabet()), *SPECIAL]  # of Whisper, by number
SIZE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONVOLUTIONS = {
    "conv_dim": (16, 16, 16),
    "conv_stride": (5, 8, 8),
    "conv_kernel": (10, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
DECODER = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32}
ENCODER = {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def lively(network):
    """So that what is said changes from step to step, and with the sound."""
    torch.manual_seed(4)
    for values in network.parameters():
        if values.dim() > 1:
            torch.nn.init.normal_(values, std=0.3)
    return network


def signs_processor(folder, signs=SIGNS, **options):
    """Of CTC: signs, raw sound."""
    (folder / "vocab.json").write_text(
        json.dumps(signs if isinstance(signs, dict) else {s: n for n, s in enumerate(signs)})
    )
    tokenizer = hub.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **options)
    hub.Wav2Vec2Processor(hub.Wav2Vec2FeatureExtractor(return_attention_mask=False), tokenizer).save_pretrained(folder)


def signs(name, **more):
    """A maker of a CTC network by the first part of its class' name."""

    def write(folder):
        signs_processor(folder)
        torch.manual_seed(0)
        config = getattr(hub, f"{name}Config")(
            vocab_size=len(SIGNS), pad_token_id=0, **SIZE, **{**CONVOLUTIONS, **more}
        )
        network = getattr(hub, f"{name}ForCTC")(config)
        torch.nn.init.normal_(network.lm_head.weight, std=3.0)  # so that signs change from step to step
        network.save_pretrained(folder)

    return write


def wav2vec2_bert(folder):
    (folder / "vocab.json").write_text(json.dumps({sign: n for n, sign in enumerate(SIGNS)}))
    tokenizer = hub.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    hub.Wav2Vec2BertProcessor(hub.SeamlessM4TFeatureExtractor(), tokenizer).save_pretrained(folder)
    torch.manual_seed(4)
    network = hub.Wav2Vec2BertForCTC(hub.Wav2Vec2BertConfig(vocab_size=len(SIGNS), pad_token_id=0, **SIZE))
    torch.nn.init.normal_(network.lm_head.weight, std=3.0)
    network.save_pretrained(folder)


def mms(folder):
    """Two languages of other alphabets, an adapter each; the folder's own is that of English."""
    english, german = (
        {sign: n for n, sign in enumerate(SIGNS)},
        {s: n for n, s in enumerate([*SIGNS[:5], *"RHSNIOATE"])},
    )
    signs_processor(folder, {"eng": english, "deu": german}, target_lang="eng")
    torch.manual_seed(4)
    config = hub.Wav2Vec2Config(vocab_size=len(SIGNS), pad_token_id=0, adapter_attn_dim=4, **SIZE, **CONVOLUTIONS)
    network = hub.Wav2Vec2ForCTC(config)
    for language in ("deu", "eng"):
        adapters = network._get_adapters()
        for values in adapters.values():
            torch.nn.init.normal_(values, std=1.0)
        save_file(
            {name: values.detach().clone() for name, values in adapters.items()},
            folder / f"adapter.{language}.safetensors",
        )
    network.save_pretrained(folder)


def whisper(folder, **changes):
    """Two languages; `changes` to its generation config, where None takes an entry away."""
    vocabulary = {piece: n for n, piece in enumerate(PIECES)}
    number = vocabulary.__getitem__
    plain = number("<|endoftext|>")
    (folder / "vocab.json").write_text(json.dumps({p: n for p, n in vocabulary.items() if n <= plain}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = hub.WhisperTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:8]})
    tokenizer.add_tokens(SPECIAL[8:])  # time stamps are no special tokens
    hub.WhisperProcessor(hub.WhisperFeatureExtractor(feature_size=16, chunk_length=30), tokenizer).save_pretrained(
        folder
    )
    ends = {"pad_token_id": plain, "bos_token_id": plain, "eos_token_id": plain, "decoder_start_token_id": plain + 1}
    network = hub.WhisperForConditionalGeneration(
        hub.WhisperConfig(
            vocab_size=len(vocabulary),
            num_mel_bins=16,
            d_model=32,
            **ENCODER,
            **DECODER,
            max_source_positions=1500,
            max_target_positions=48,
            begin_suppress_tokens=None,
            suppress_tokens=None,
            **ends,
        )
    )
    settings = {
        **ends,
        "is_multilingual": True,
        "lang_to_id": {"<|en|>": number("<|en|>"), "<|de|>": number("<|de|>")},
        "task_to_id": {task: number(f"<|{task}|>") for task in ("transcribe", "translate")},
        "no_timestamps_token_id": number("<|notimestamps|>"),
        "max_length": 20,
        "suppress_tokens": [n for p, n in vocabulary.items() if not (p.isascii() and p.isalpha() or p == "\u0120")],
        **changes,
    }
    lively(network).generation_config = hub.GenerationConfig(**{k: v for k, v in settings.items() if v is not None})
    network.save_pretrained(folder)


def word_tokenizer():
    signs = ["<pad>", "<s>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"]
    made = Tokenizer(models.WordLevel({sign: n for n, sign in enumerate(signs)}, unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    ends = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return hub.PreTrainedTokenizerFast(tokenizer_object=made, **ends)


def moonshine(folder):
    tokenizer = word_tokenizer()
    extractor = hub.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    hub.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    sizes = {"encoder_num_hidden_layers": 1, "decoder_num_hidden_layers": 1}
    sizes |= {"encoder_num_attention_heads": 2, "decoder_num_attention_heads": 2}
    config = hub.MoonshineConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, **sizes, decoder_start_token_id=1, **ENDS
    )
    network = lively(hub.MoonshineForConditionalGeneration(config))
    network.generation_config.update(max_length=16)
    network.save_pretrained(folder)


def speech_encoder_decoder(folder):
    tokenizer = word_tokenizer()
    hub.Wav2Vec2Processor(hub.Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    text = hub.BartConfig(
        vocab_size=len(tokenizer), d_model=24, **ENCODER, **DECODER, max_position_embeddings=64, **ENDS
    )
    config = hub.SpeechEncoderDecoderConfig.from_encoder_decoder_configs(
        hub.Wav2Vec2Config(**SIZE, **CONVOLUTIONS), text
    )
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    network = lively(hub.SpeechEncoderDecoderModel(config))
    network.generation_config.update(decoder_start_token_id=1, pad_token_id=0, eos_token_id=2, max_length=16)
    network.save_pretrained(folder)


def speech_to_text(folder):
    tokenizer = word_tokenizer()
    extractor = hub.Speech2TextFeatureExtractor(feature_size=16, num_mel_bins=16)
    hub.Speech2TextProcessor(extractor, tokenizer).save_pretrained(folder)
    config = hub.Speech2TextConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        **ENCODER,
        **DECODER,
        input_feat_per_channel=16,
        conv_channels=16,
        decoder_start_token_id=1,
        max_target_positions=64,
        **ENDS,
    )
    network = lively(hub.Speech2TextForConditionalGeneration(config))
    network.generation_config.update(max_length=16)
    network.save_pretrained(folder)


CTC = {
    "data2vec-audio": signs("Data2VecAudio", conv_pos_kernel_size=3),
    "hubert": signs("Hubert"),
    "mms": mms,
    "sew": signs("SEW", squeeze_factor=1),
    "unispeech": signs("UniSpeech", num_ctc_classes=len(SIGNS)),
    "unispeech-sat": signs("UniSpeechSat"),
    "wav2vec2": signs("Wav2Vec2"),
    "wav2vec2-bert": wav2vec2_bert,
    "wav2vec2-conformer": signs("Wav2Vec2Conformer"),
    "wavlm": signs("WavLM"),
}
SEQ2SEQ = {
    "moonshine": moonshine,
    "speech-encoder-decoder": speech_encoder_decoder,
    "speech-to-text": speech_to_text,
    "whisper": whisper,
}
