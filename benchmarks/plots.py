"""The figures as pictures, beside the JSON they were written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "specserve"  # the same figures give the same file

import matplotlib.pyplot as plt  # noqa: E402  the backend comes first


def ratio_bars(path: Path, ratios: Mapping[str, tuple[Mapping[str, float], float]]) -> None:
    """One bar a ratio, with its spread and its goal.

    Args:
        path: Of the JSON; the picture lies beside it.
        ratios: Label -> (median, least and most of the ratio; the goal).
    """
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.6 * len(ratios)), layout="constrained")
    for at, (found, goal) in enumerate(ratios.values()):
        reached = found["median"] >= goal
        axes.barh(at, found["median"], color="#2a7f62" if reached else "#b5652a", height=0.55)
        axes.plot([found["least"], found["most"]], [at, at], color="black", linewidth=1.5)
        axes.plot([goal, goal], [at - 0.38, at + 0.38], color="black", linestyle=":", linewidth=1.5)
        axes.text(0.01, at, f" {found['median']:.2f}", va="center", color="white", fontweight="bold")
    axes.set_yticks(range(len(ratios)), list(ratios))
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("ratio: line = spread over rounds, dotted = goal")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)
