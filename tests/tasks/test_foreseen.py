"""Requests that fail for certain are known by the request, the model, and a folder of weights that is at hand."""

import json
from pathlib import Path

import pytest

from tasks import generate, recommend, transcribe
from tasks.algorithm import implementation
from tasks.generate.hf import Model as Hf
from tasks.generate.prose import ProseModel
from tasks.registry import KINDS, Model, Registry, contract

CHAT = generate.Inputs(messages=[generate.Message(role="user", content="Hello")])


def whisper(folder: Path | str) -> Model:
    return Model(kind="transcribe", name="whisper", algorithm="whisper", weights=str(folder))


def test_a_folder_is_judged_as_the_worker_judges_it(tmp_path):
    """Chat templates where transformers looks for them; where the folder is absent, nothing is refused."""
    model = Model(kind="generate", name="m", algorithm="hf", weights=str(tmp_path / "plain"))
    folders = {
        "plain": (False, {"tokenizer_config.json": {}}),
        "config": (True, {"tokenizer_config.json": {"chat_template": "{{ messages }}"}}),
        "file": (True, {"tokenizer_config.json": {}, "chat_template.jinja": {}}),
        "absent": (True, {}),
        "broken": (True, {"tokenizer_config.json": []}),
    }
    for name, (may, files) in folders.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_text(json.dumps(content))
        of_folder = model.model_copy(update={"weights": str(tmp_path / name)})
        found = list(generate.foreseen(CHAT, generate.Params(), of_folder))
        assert (found == []) == may, name


def test_the_model_that_ships_without_a_chat_template_has_none():
    """The worker's own look at the folder agrees."""
    shipped = Model(kind="generate", name="stories", algorithm="hf", weights="stories260k")
    assert [place for place, _ in generate.foreseen(CHAT, generate.Params(), shipped)] == ["/input/messages"]
    assert Hf.load(shipped.weights_path(), "cpu").tokenizer.chat_template is None


def test_an_embedder_writes_nothing(tmp_path):
    (tmp_path / "modules.json").write_text("[]")
    model = Model(kind="generate", name="m", algorithm="hf", weights=str(tmp_path))
    prompt = generate.Inputs(prompt="Once")
    assert [place for place, _ in generate.foreseen(prompt, generate.Params(), model)] == ["/params/mode"]
    assert not list(generate.foreseen(prompt, generate.Params(mode="embed"), model))


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"lang_to_id": {"<|en|>": 1, "<|cy|>": 2}}, ["de"]),
        ({"is_multilingual": False}, ["cy", "de"]),
        ({}, []),
        ([], []),
    ],
)
def test_a_whispers_languages_are_those_of_its_generation_config(tmp_path, settings, refused):
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    audio = transcribe.Inputs(audio="https://example.com/a.wav")
    params = {language: transcribe.Params(language=language) for language in ("en", "cy", "de")}
    found = [name for name, asked in params.items() if list(transcribe.foreseen(audio, asked, whisper(tmp_path)))]
    assert found == refused
    assert not list(transcribe.foreseen(audio, params["de"], whisper("hf://openai/whisper-small@main")))


def test_the_lists_of_algorithms_are_as_their_classes_say():
    """Of English alone, of prose alone, and those that need interactions."""
    assert all(implementation("transcribe", name).languages == ("en",) for name in transcribe.ENGLISH)
    assert all(issubclass(implementation("generate", name), ProseModel) for name in generate.PROSE)
    for name in (model.algorithm for model in Registry.default().models if model.kind == "recommend"):
        assert implementation("recommend", name).needs_interactions == (name not in recommend.WITHOUT_INTERACTIONS)


def test_an_operators_own_algorithm_is_not_judged():
    own = Model(kind="generate", name="own", algorithm="studio.chat")
    assert not list(generate.foreseen(CHAT, generate.Params(mode="embed"), own))
    assert all(contract(kind).foreseen for kind in KINDS)
