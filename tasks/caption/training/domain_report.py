"""Fits the domain of scenes, and measures what share of foreign and of own pictures is warned of as out_of_domain.

`python -m tasks.caption.training.domain_report --data ~/data` writes domain.safetensors and domain.md beside the
encoder's weights, once it is trained; each captioner's folder and card get them (card.py).

The sources were named before anything was calibrated (foreign.py and here). Two sorts of picture were used to choose
the measure, so these stand apart: noise and drawn shapes; of UCM only the classes that were not used are here. Limits
and statistics come from own scenes alone (domain.py). All captioners have one encoder: the table holds for all.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tasks.caption.domain import Domain
from tasks.caption.encoder import SceneEncoder
from tasks.caption.pictures import open_picture
from tasks.caption.training import encoder as train_encoder
from tasks.caption.training.domain import drawn, fit, looked_at
from tasks.caption.training.foreign import sources
from tasks.caption.training.scenes import TEST_SEEDS, Composer

OWN = TEST_SEEDS[7000:8000]
OTHERS = TEST_SEEDS[4000:4150]
UCM_USED = 1000
"""Pictures of UCM, by number, that belong to the ten classes by which the measure was chosen."""
USED = ("noise", "rectangles and ellipses")
SIDE = 192
TEXT = """`out_of_domain` is said where nothing is seen, where more than four things are, where a thing is seen with too
little certainty, or where mean and deviation of the encoder's features lie too far from those of scenes. Limits were
set on validation scenes alone. Sources were named before calibration; the last rows are of sorts that helped to
choose the measure. The numbers are the encoder's, which all captioners of scenes share.

| pictures | number | warned of |
|---|---|---|
{rows}
"""


def report(encoder: SceneEncoder, domain: Domain, composer: Composer, data: Path) -> str:
    """A paragraph and a table; some 3,400 pictures are looked at."""
    found = {
        "**own: test scenes, known compositions**": drawn(composer, OWN),
        "**own: test scenes, new compositions**": drawn(composer, OWN, "new"),
        **foreign(composer, data),
    }
    return TEXT.format(
        rows="\n".join(
            f"| {name} | {len(pictures)} | {warned(encoder, domain, pictures):.1%} |"
            for name, pictures in found.items()
        )
    ).strip()


def foreign(composer: Composer, data: Path) -> dict[str, list[Image.Image]]:
    """Pictures by source; the sorts that calibration knew come last."""
    photographs = photos(data)
    folder = data / "images" / "ucm" / "imgs"
    unseen = [open_picture(folder / f"{number}.jpg") for number in range(UCM_USED + 1, 2101, 5)]
    all_sources = {
        name: make
        for name, make in sources(data, list(composer.things)).items()
        if name not in ("composed scenes of emoji", "aerial pictures (UCM)")
    }
    return {
        "photographs (images/photos)": photographs,
        "aerial pictures (UCM, 11 classes)": unseen,
        **{name: make() for name, make in all_sources.items() if name not in USED},
        "scenes over photographs": over(composer, [*photographs, *unseen]),
        "crowds of nine things": drawn(composer, OTHERS, "crowd"),
        "scenes with a thing it has no word for": drawn(composer, OTHERS, "strange"),
        **{f"{name} (calibration knew others)": all_sources[name]() for name in USED},
    }


def photos(data: Path) -> list[Image.Image]:
    folder = data / "images" / "photos"
    return [open_picture(path) for path in sorted(folder.iterdir()) if path.suffix in (".jpg", ".png")]


def over(composer: Composer, backgrounds: Sequence[Image.Image]) -> list[Image.Image]:
    """Things of test scenes, pasted over photographs."""
    made = []
    for number, seed in enumerate(OTHERS):
        behind = backgrounds[number % len(backgrounds)]
        side = min(behind.size)
        picture = behind.crop((0, 0, side, side)).resize((SIDE, SIDE))
        for placed in composer.scene(seed).things:
            sprite = composer.painter.sprites[placed.thing]
            scale = placed.size * SIDE / max(sprite.size)
            sprite = sprite.resize([max(1, round(length * scale)) for length in sprite.size])
            corner = (round(placed.x * SIDE - sprite.width / 2), round(placed.y * SIDE - sprite.height / 2))
            picture.paste(sprite, corner, sprite)
        made.append(picture)
    return made


def warned(encoder: SceneEncoder, domain: Domain, pictures: Sequence[Image.Image]) -> float:
    """The share of pictures that have the warning."""
    return sum(bool(domain.foreign(sight)) for sight in looked_at(encoder, pictures)) / len(pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args().data
    encoder, _ = train_encoder.trained()
    composer = train_encoder.composer(data)
    domain = fit(encoder, composer)
    domain.save(train_encoder.FOLDER)
    (train_encoder.FOLDER / "domain.md").write_text(report(encoder, domain, composer, data) + "\n")


if __name__ == "__main__":
    main()
