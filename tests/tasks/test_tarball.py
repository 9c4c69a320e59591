"""Archives: what is in them comes out, and nothing else does."""

import io
import tarfile

import pytest

from tasks.tarball import unpack


@pytest.fixture
def archive(tmp_path):
    """archive(member, ...): the path of a tar file with these; a member is a TarInfo, and its text."""

    def make(*members: tuple[tarfile.TarInfo, bytes]):
        path = tmp_path / "packed.tar"
        with tarfile.open(path, "w:gz") as tar:
            for info, text in members:
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
        return path

    return make


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_files_and_folders_come_out_as_they_went_in(archive, tmp_path):
    packed = archive((entry("empty", tarfile.DIRTYPE), b""), (entry("a.json"), b"{}"), (entry("deep/down/b"), b"\x00"))
    unpack(packed, tmp_path / "out")
    assert (tmp_path / "out/a.json").read_bytes() == b"{}"
    assert (tmp_path / "out/deep/down/b").read_bytes() == b"\x00"
    assert (tmp_path / "out/empty").is_dir()


@pytest.mark.parametrize(
    "member",
    [
        entry("../outside"),
        entry("/tmp/outside"),
        entry("in/../../outside"),
        entry("pipe", tarfile.FIFOTYPE),
        entry("link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("hard", tarfile.LNKTYPE, "/etc/passwd"),
        entry("null", tarfile.CHRTYPE),
    ],
    ids=lambda member: member.name,
)
def test_what_is_more_than_a_file_inside_is_refused(archive, tmp_path, member):
    with pytest.raises(tarfile.TarError, match="no plain file"):
        unpack(archive((member, b"")), tmp_path / "out")
    assert not list(tmp_path.rglob("outside"))
