"""The picture that compares models: their nDCG, best on top, with bootstrap intervals. Knows drawing, no models."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ASKED, OTHER, BASELINE = "#1f77b4", "#9ecae1", "#bdbdbd"


def draw(path: Path, table: dict, asked: str) -> None:
    """A PNG of the table that evaluate.measure makes; the model that was asked for stands out."""
    rows = sorted(table["models"], key=lambda row: row["ndcg"])
    figure = Figure(figsize=(7, 0.45 * len(rows) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    below = [row["ndcg"] - row["low"] for row in rows]
    above = [row["high"] - row["ndcg"] for row in rows]
    colours = [ASKED if row["model"] == asked else BASELINE if row["model"] == "popular" else OTHER for row in rows]
    axes.barh(
        [row["model"] for row in rows],
        [row["ndcg"] for row in rows],
        xerr=[below, above],
        color=colours,
        ecolor="#444444",
        capsize=3,
    )
    axes.set_xlabel(f"nDCG@{table['k']}, 95 % bootstrap intervals; {table['users']:,} users, newest item held back")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
