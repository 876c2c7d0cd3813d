"""A confusion matrix as a figure for MLflow: rows are the true classes, each cell the row's share."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

LABELLED = 20  # classes; above this, names and counts would not be readable


def class_names(task: str, scores: dict[str, float], classes: int) -> list[str]:
    """The classes of a task as the names of its recalls tell them, numbers where they do not."""
    prefix = f"{task}_recall_"
    names = [key.removeprefix(prefix) for key in scores if key.startswith(prefix)]
    return names if len(names) == classes else [str(number) for number in range(classes)]


def draw_confusion(task: str, counts: NDArray[Any], names: list[str], note: str) -> Figure:
    """counts: (C, C) of clips, rows true, columns predicted; `note` is the subtitle."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    axes.set(title=f"{task}: {note}", xlabel="predicted", ylabel="true")
    if len(names) <= LABELLED:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        for (row, column), share in np.ndenumerate(shares):
            ink = "black" if share > 0.6 else "white"
            axes.text(column, row, str(int(counts[row, column])), ha="center", va="center", color=ink, fontsize=9)
    figure.colorbar(image, label="share of the true class")
    return figure
