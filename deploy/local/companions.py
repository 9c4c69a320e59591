"""Makes torchvision and torchaudio from PyPI importable beside a CPU build of torch.

On PyPI both are built against CUDA, and their compiled parts do not load where torch has none. PyTorch's own CPU
index has builds that fit; this is for machines that cannot reach it. Lost are the compiled operators (nms,
roi_align, forced_align, torchvision's image decoding), which nothing here uses. Run by install.py, once.
"""

from pathlib import Path

MARK = "# backlot: no compiled operators"
DEFINITIONS = f"""
{MARK}: their names must exist, or torchvision does not import
if not _has_ops():
    _backlot_names = torch.library.Library("torchvision", "DEF")
    for _backlot_name in ("nms", "qnms"):
        _backlot_names.define(_backlot_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def mend(site: Path) -> None:
    """`site`: the site-packages folder that holds both. Doing it twice changes nothing."""
    for library in (site / "torchaudio" / "lib").glob("*.so"):
        library.unlink()  # torchaudio then takes itself for a build without extension
    extension = site / "torchvision" / "extension.py"
    text = extension.read_text()
    if MARK not in text:
        # a new file: the installed one may be a hard link into a package cache
        extension.unlink()
        extension.write_text(text + DEFINITIONS)
