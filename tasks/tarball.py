"""A tar archive into a folder: plain files and folders alone, none of them outside. It knows nothing of who packed it.

(tarfile's own `filter` came with Python 3.11.4; Debian 12 has 3.11.2.)
"""

import shutil
import tarfile
from pathlib import Path


def unpack(packed: Path, folder: Path) -> None:
    """Errors: tarfile.TarError for what is no archive, or has more in it than plain files and folders; OSError."""
    inside = folder.resolve()
    with tarfile.open(packed) as tar:
        for member in tar:
            path = (inside / member.name).resolve()
            if not path.is_relative_to(inside) or not (member.isfile() or member.isdir()):
                raise tarfile.ExtractError(f"{member.name!r} is no plain file or folder within the archive")
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            if source is None:
                raise tarfile.ExtractError(f"{member.name!r} has no content")
            with source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
