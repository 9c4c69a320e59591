"""models.toml and the kinds' contracts."""

from pathlib import Path

import pytest
from pydantic import ValidationError

import tasks
from tasks.algorithm import Algorithm, implementation
from tasks.errors import UnknownModel
from tasks.registry import KINDS, Model, Registry, contract


def read(tmp_path, text, pools=("cpu", "gpu")):
    path = tmp_path / "models.toml"
    path.write_text(text)
    return Registry.read(path, pools)


def entry(kind="generate", name="lstm", **more):
    lines = {"kind": kind, "name": name, "algorithm": "lstm", **more}
    return "[[model]]\n" + "".join(
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n" for key, value in lines.items()
    )


def test_a_model_is_found_by_kind_and_name_or_as_the_default(tmp_path):
    registry = read(tmp_path, entry() + entry(name="gru", default=True) + entry(kind="caption", name="lstm"))
    assert registry.model("generate", "lstm").key == "generate/lstm"
    assert registry.model("generate").name == "gru"
    assert registry.model("caption", "lstm").kind == "caption"
    assert set(registry.by_key) == {"generate/lstm", "generate/gru", "caption/lstm"}


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("generate", "gpt", "no generate model 'gpt'; there are lstm"),
        ("generate", None, "no default model of generate"),
        ("caption", None, "there are none"),
        ("sing", None, "no kind 'sing'; kinds are recommend, transcribe"),
    ],
)
def test_an_unknown_model_is_answered_with_what_there_is(tmp_path, kind, name, why):
    with pytest.raises(UnknownModel, match=why):
        read(tmp_path, entry()).model(kind, name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (entry() + entry(), "more than one model generate/lstm"),
        (entry(default=True) + entry(name="b", default=True), "more than one default model of kind generate"),
        (entry(kind="sing"), "kind"),
        (entry(pool="T.PU"), "models.toml:.*pool"),
        (entry(name="Big Model"), "name"),
        (entry(name="a/b"), "name"),
        (entry(run_timeout_s=0), "run_timeout_s"),
        (entry(batch=0), "batch"),
        (entry(weigths="x"), "weigths"),
        (entry(algorithm="../x"), "algorithm"),
        ("[[modle]]\n", "modle"),
        ("= 3", "Invalid"),
    ],
)
def test_a_faulty_file_is_refused_with_the_field_at_fault(tmp_path, text, why):
    with pytest.raises(ValueError, match=why):
        read(tmp_path, text)


@pytest.mark.parametrize("pool", ["gpu", "gpu-large"])
def test_a_model_whose_pool_is_not_there_goes_to_the_first(tmp_path, caplog, pool):
    registry = read(tmp_path, entry(pool=pool) + entry(name="small", pool="b"), pools=("a", "b"))
    assert [model.pool for model in registry.models] == ["a", "b"]
    (warning,) = caplog.messages
    assert warning == f"generate/lstm: BACKLOT_POOLS lacks the pool {pool}: runs on a"
    assert read(tmp_path, entry(pool="gpu")).models[0].pool == "gpu"


def test_a_model_cannot_be_changed_once_read():
    with pytest.raises(ValidationError):
        Registry.default().models[0].pool = "gpu"


def test_relative_weights_lie_with_their_kind(tmp_path):
    model = Model(kind="generate", name="m", algorithm="lstm", weights="lstm")
    assert model.weights_path().parts[-4:] == ("tasks", "generate", "weights", "lstm")
    assert model.model_copy(update={"weights": str(tmp_path)}).weights_path() == tmp_path
    assert model.model_copy(update={"weights": None}).weights_path() is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_contract_with_documented_closed_inputs_and_params(kind):
    """What is not known is refused, and what is known is described."""
    known = contract(kind)
    for model in (known.inputs, known.params):
        assert model.model_config["extra"] == "forbid"
        assert all(field.description for field in model.model_fields.values()), model
    assert known.params.model_validate({}), "all params have defaults"
    assert known.result.model_json_schema()


def test_the_kinds_folders_are_the_kinds():
    folder = Path(tasks.__file__).parent
    assert {f.parent.name for f in folder.glob("*/__init__.py")} - {"bucket", "ledger", "service"} == set(KINDS)


@pytest.mark.parametrize("model", Registry.default().models, ids=lambda m: m.key)
def test_every_model_of_the_package_has_its_algorithm_and_its_weights(model):
    assert issubclass(implementation(model.kind, model.algorithm), Algorithm)
    assert model.weights is None or model.weights_path().exists(), "weights belong to the package"
    assert model.description


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_default_model(kind):
    assert Registry.default().model(kind).default
