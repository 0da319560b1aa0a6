"""The figures as pictures, beside the JSON they were written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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


def ratio_lines(path: Path, peer: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Ours over a peer's against the number of requests at once: tokens/s, and the time to the first token.

    Args:
        path: Of the JSON; the picture lies beside it.
        peer: Whose figures stand below the line of the fraction.
        rows: With ``prompt``, ``concurrency`` and ``ratios``.
    """
    figure, both = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    titles = {"tokens_per_second": "tokens/s (more is better)", "first_token_p50": "first token, p50 (less is better)"}
    for axes, (key, title) in zip(both, titles.items(), strict=True):
        for kind in dict.fromkeys(row["prompt"] for row in rows):
            of = [row for row in rows if row["prompt"] == kind]
            at = [row["concurrency"] for row in of]
            found = [row["ratios"][key] for row in of]
            label = "shared beginning" if kind == "shared" else f"{kind} words"
            (line,) = axes.plot(at, [each["median"] for each in found], marker="o", label=label)
            axes.fill_between(
                at,
                [each["least"] for each in found],
                [each["most"] for each in found],
                alpha=0.15,
                color=line.get_color(),
            )
        axes.axhline(1, color="black", linestyle=":", linewidth=1)
        axes.set_xscale("log", base=2)
        ticks = sorted({row["concurrency"] for row in rows})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("requests at once")
        axes.set_title(f"ours over {peer}: {title}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    both[0].legend(frameon=False)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)


def precision_bars(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """What each part of a precision costs in exactness, on a logarithmic scale, and gives in speed.

    Args:
        path: Of the JSON; the picture lies beside it.
        rows: The exact one first; with ``name``, ``kullback_leibler``, ``ratio_alone`` and ``ratio_beside``.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 0.9 + 0.5 * len(rows)), layout="constrained", sharey=True)
    places = range(len(rows))
    left.barh(places, [max(row["kullback_leibler"], 1e-12) for row in rows], color="#b5652a", height=0.55)
    left.set_xscale("log")
    left.set_xlabel("nats from the exact distribution (less is better)")
    left.set_yticks(places, [row["name"] for row in rows])
    left.invert_yaxis()
    for shift, key, label, color in ((-0.2, "alone", "alone", "#2a7f62"), (0.2, "beside", "beside 8", "#7fbfa5")):
        found = [row[f"ratio_{key}"] for row in rows]
        at = [place + shift for place in places]
        right.barh(at, [each["median"] for each in found], color=color, height=0.36, label=label)
        for place, each in zip(at, found, strict=True):
            right.plot([each["least"], each["most"]], [place, place], color="black", linewidth=1.2)
    right.axvline(1, color="black", linestyle=":", linewidth=1)
    right.set_xlabel("tokens/s over the exact one's (more is better)")
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)


def growth_lines(path: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """What the server does in a second, and how long it takes, against how much of something there is.

    Args:
        path: Of the JSON; the picture lies beside it.
        rows: What grows -> its sizes, with ``requests_per_second`` and ``latency_ms``.
    """
    figure, panels = plt.subplots(1, len(rows), figsize=(4.2 * len(rows), 3.8), layout="constrained")
    for axes, (name, found) in zip(panels, rows.items(), strict=True):
        sizes = [row["size"] for row in found]
        axes.plot(sizes, [row["requests_per_second"]["median"] for row in found], marker="o", label="requests/s")
        for percent, style in ((50, "--"), (99, ":")):
            axes.plot(sizes, [row["latency_ms"][percent] for row in found], style, marker=".", label=f"p{percent}, ms")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(name.replace("_", " "))
        axes.grid(which="major", alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)
