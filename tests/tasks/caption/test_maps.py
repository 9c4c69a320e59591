"""The strip of attention maps: where light falls, and how many tiles there are."""

import numpy as np
import pytest
from PIL import Image

from tasks.caption.maps import A_ROW, DIMMED, GAP, LINE, TILE, strip, tile


def looking_at(row, column, side=12):
    one = np.zeros((side, side))
    one[row, column] = 1.0
    return one


@pytest.mark.parametrize(("row", "column"), [(1, 1), (1, 10), (10, 3)])
def test_a_tile_is_lightest_where_the_map_is_highest(row, column):
    """Of a white picture: full light at that place, a quarter of it elsewhere."""
    pixels = np.asarray(tile(Image.new("RGB", (96, 96), "white"), looking_at(row, column))).mean(axis=2)
    place = TILE / 12
    assert pixels[int((row + 0.5) * place), int((column + 0.5) * place)] > 240
    away = pixels[int((11 - row + 0.5) * place), int((11 - column + 0.5) * place)]
    assert away == pytest.approx(DIMMED * 255, abs=3)


@pytest.mark.parametrize(("words", "rows", "columns"), [(1, 1, 1), (5, 1, 5), (A_ROW, 1, A_ROW), (A_ROW + 1, 2, A_ROW)])
def test_there_is_one_tile_a_word(words, rows, columns):
    sheet = strip(
        Image.new("RGB", (96, 96), "white"),
        np.stack([looking_at(n % 12, 0) for n in range(words)]),
        [f"word{n}" for n in range(words)],
    )
    assert sheet.size == (columns * (TILE + GAP) - GAP, rows * (TILE + LINE + GAP) - GAP)


def test_the_second_tile_shows_the_second_map():
    """Its own bright spot lies where the second map has it."""
    sheet = np.asarray(
        strip(Image.new("RGB", (96, 96), "white"), np.stack([looking_at(0, 0), looking_at(11, 11)]), ["a", "cat"])
    ).mean(axis=2)
    assert sheet[LINE + TILE - 5, 2 * TILE + GAP - 5] > 240 and sheet[LINE + TILE - 5, TILE - 5] < 90
