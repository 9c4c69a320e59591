"""What is installed: the pins, and the way torch comes."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.local import install

ROOT = install.ROOT
LINE = re.compile(r'^[a-z0-9-]+==[0-9][0-9a-z.]*(; python_version (==|!=) "3\.\d+")?$')


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """The install commands that were run, each pretended to succeed."""
    commands = []

    def record(name, command):
        commands.append(command)
        return True

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(install, "_run", record)
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    return commands


def test_the_pins_are_plain_versions():
    """A constraints file with hosts, hashes or +cpu would fit one machine only."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not LINE.match(line)] == []


def test_every_requirement_is_pinned():
    """Whatever pyproject.toml asks for has its version in constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.match(r"[a-z0-9-]+", requirement)[0] for group in asked for requirement in group}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - pinned == set()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has one build of PyTorch")
def test_without_a_gpu_torch_can_only_be_the_build_for_cpus(ran, monkeypatch):
    """The version asked for is +cpu, which no CUDA build satisfies."""
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    install.install_torch()
    assert any(re.fullmatch(r"torch==[\d.]+\+cpu", argument) for argument in ran[0])
    assert install.TORCH_CPU_INDEX in ran[0] and "--no-deps" in ran[0]


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has one build of PyTorch")
def test_folders_of_wheels_come_before_the_index(ran, monkeypatch):
    """Where find-links are set, an index that cannot be reached is not asked."""
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    monkeypatch.setenv("PIP_FIND_LINKS", "/some/wheels")
    install.install_torch()
    assert install.TORCH_CPU_INDEX not in ran[0]


def test_a_set_that_is_there_is_not_installed_again(ran, monkeypatch, tmp_path):
    """The second time costs nothing, until a pin changes."""
    monkeypatch.setattr(install.sys, "prefix", str(tmp_path))
    install.ensure("dev")
    installs = len(ran)
    install.ensure("dev")
    assert installs > 0 and len(ran) == installs
    monkeypatch.setattr(install, "fingerprint", lambda: "another")
    assert not install.present("dev")


def test_where_uv_fails_pip_is_asked(monkeypatch, tmp_path):
    """uv does not read pip.conf, in which an index may stand that pip knows."""
    tried = []
    monkeypatch.setattr(install, "_run", lambda name, command: tried.append(command[2]) or command[2] == "pip")
    install._install("dev", "pytest")
    assert tried == ["uv", "pip"]


def test_a_failure_is_one_sentence_with_the_reason(monkeypatch, tmp_path):
    """The person who typed make sees the tool's own last word."""
    monkeypatch.setattr(install, "LOG", tmp_path)
    Path(tmp_path, "install-dev.log").write_text("Resolving\nerror: no such package\n")
    monkeypatch.setattr(install, "_run", lambda name, command: False)
    with pytest.raises(install.Failed, match="Could not install the test tools: error: no such package"):
        install._install("dev", "nothing")


def test_what_is_installed_is_compiled_where_no_process_may_write_bytecode(monkeypatch, tmp_path):
    """PYTHONDONTWRITEBYTECODE is common in containers: without bytecode each start would compile torch anew. Tests of
    packages are left out, and a file that is no Python stops nothing."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(install, "LOG", tmp_path)
    monkeypatch.setattr(install, "OURS", ())
    monkeypatch.setattr(install.sysconfig, "get_path", lambda name: str(tmp_path / "lib"))
    for path, text in (("lib/bad.py", "def f("), ("lib/good.py", "x = 1\n"), ("lib/good/tests/t.py", "x = 1\n")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    install._compile("base")
    assert [found.name.partition(".")[0] for found in tmp_path.rglob("*.pyc")] == ["good"]
