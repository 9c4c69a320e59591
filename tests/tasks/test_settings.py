"""Settings: one prefix, units in names, a wrong value named when a process starts, no secret shown."""

import pytest
from pydantic import ValidationError

from tasks.settings import Settings
from tests.stack import environment

ELSEWHERE = {
    "redis_url": "rediss://:s3cret@redis.example:6380/2",
    "s3_endpoint_url": "https://s3.example",
    "s3_bucket": "films",
    "s3_access_key_id": "AKIA",
    "s3_secret_access_key": "s3cret",
    "pools": "cpu",
    "cpu_slots": "4",
    "lease_s": "2.5",
    "fetch_allow": "127.0.0.1, 10.0.0.0/8",
    "s3_sources": "acme=films/inbox/,acme=archive/,rival=theirs/x",
}


@pytest.fixture
def told(monkeypatch):
    """told(name=value) is what a process with these BACKLOT_ variables reads."""

    def told(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"BACKLOT_{name.upper()}", value)
        return Settings()

    return told


def test_everything_has_a_default(told):
    assert told().s3_bucket == "backlot" and told().pools == {"cpu": "cpu", "gpu": "gpu"}


def test_the_environment_is_read(told):
    settings = told(**ELSEWHERE)
    assert settings.redis_url.get_secret_value() == ELSEWHERE["redis_url"]
    assert (settings.pools, settings.fetch_allow) == ({"cpu": "cpu"}, ["127.0.0.1", "10.0.0.0/8"])
    assert settings.s3_sources == {"acme": ["films/inbox/", "archive/"], "rival": ["theirs/x"]}
    assert (settings.lease_s, settings.cpu_slots) == (2.5, 4)


def test_settings_given_to_a_process_read_back_as_they_were(told, monkeypatch):
    """The harness hands its settings to the processes it starts; they see the same."""
    settings = told(**ELSEWHERE)
    for name in ELSEWHERE:
        monkeypatch.delenv(f"BACKLOT_{name.upper()}")
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease_s", "0"),
        ("lease_s", "soon"),
        ("pools", ""),
        ("pools", "tpu"),
        ("cpu_slots", "0"),
        ("max_attempts", "11"),
        ("metrics_port", "70000"),
        ("log_level", "LOUD"),
        ("linger_s", "5"),
        ("s3_sources", "acme"),
        ("s3_sources", "acme=bucket"),
        ("s3_outputs", "acme=bucket"),
        ("cors_origins", "https://a.example/"),
        ("cors_origins", "a.example"),
        ("cors_origins", "https://A.example"),
        ("cors_origins", "null"),
        ("retention_s", "inf"),
        ("max_retention_s", "1e12"),
        ("max_queue_ttl_s", "nan"),
        ("lease_s", "inf"),
    ],
)
def test_a_wrong_value_is_named(told, name, value):
    with pytest.raises(ValidationError, match=name):
        told(**{name: value})


def test_no_secret_is_shown(told):
    assert "s3cret" not in repr(told(**ELSEWHERE)) and "AKIA" not in repr(told(**ELSEWHERE))


def test_settings_do_not_change_after_the_start(told):
    with pytest.raises(ValidationError, match="frozen"):
        told().lease_s = 1


def test_the_operators_models_take_the_place_of_the_packages(told, tmp_path):
    path = tmp_path / "models.toml"
    path.write_text('[[model]]\nkind = "generate"\nname = "own"\nalgorithm = "lstm"\npool = "gpu"\n')
    assert [(m.key, m.pool) for m in told(models=str(path), pools="cpu").registry().models] == [("generate/own", "cpu")]
    assert len(Settings(models=None).registry().models) >= 4


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name):
    assert Settings.model_fields[name].description
