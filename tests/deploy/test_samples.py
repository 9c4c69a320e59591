"""The demo's jobs, held against the kinds' contracts."""

import json
import shlex
from pathlib import Path

import pytest

from deploy.local.samples import SAMPLES, Sample
from deploy.local.state import ROOT
from tasks.registry import KINDS
from tasks.request import parse

UPLOAD = "upload:upload_" + "0" * 26


def test_there_is_one_of_each_kind():
    assert sorted(sample.kind for sample in SAMPLES) == sorted(KINDS)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind)
def test_each_is_a_job_that_its_kind_accepts(sample: Sample):
    """Its files are there, and the request passes validation."""
    files = [value for value in sample.inputs.values() if isinstance(value, Path)]
    assert all((ROOT / path).is_file() for path in files)
    inputs = {name: UPLOAD if value in files else value for name, value in sample.inputs.items()}
    parse(json.dumps({"kind": sample.kind, "input": inputs, "params": sample.params}))


def test_by_hand_it_is_the_same_request():
    """The curl line, split as a shell would, carries every field."""
    sample = Sample("recommend", {"catalogue": Path("films.csv"), "history": ["It's a Wonderful Life"]}, {"k": 5})
    words = shlex.split(sample.curl())
    fields = [words[i + 1] for i, word in enumerate(words) if word == "-F"]
    assert fields == ["kind=recommend", "catalogue=@films.csv", 'history=["It\'s a Wonderful Life"]', 'params={"k": 5}']
