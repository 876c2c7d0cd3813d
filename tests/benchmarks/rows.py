"""The rows of docs/performance.md: each a script of this folder, what it is measured against, and how its JSON is told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One benchmark: its script, the script's options, and how its JSON becomes (ours, peer, ratio) in words, and figures."""

    name: str
    script: str
    options: tuple[str, ...]
    peer: str | None
    floor: str
    words: Callable[[dict[str, Any]], tuple[str, str, str]]
    figures: Callable[[dict[str, Any]], dict[str, float]]  # what its floors are about
    repeats_itself: bool = False  # its script tells 'repeats' and 'spread': what it measures on must be written but once
    bf16: str = ""  # only where the CPU has such bf16 units: 'matrix' or 'vector'


def training_words(found: dict[str, Any]) -> tuple[str, str, str]:
    peers = ", ".join(f"{name.removesuffix('_clips_per_s')} {value:.1f}" for name, value in found["peers"].items())
    ratios = ", ".join(f"{name} {value:.2f}×" for name, value in found["ratios"].items())
    mine = found["ours"]
    words = f"{mine['clips_per_s']:.1f} clips/s, front end {100 * mine['front_end_share']:.0f} % of a step"
    return words, peers or "missing", ratios


def training_figures(found: dict[str, Any]) -> dict[str, float]:
    return {**found["ratios"], "front end's share": found["ours"]["front_end_share"]}


def overhead_words(found: dict[str, Any]) -> tuple[str, str, str]:
    theirs = found.get("peer")
    stock = f"{theirs['overhead_s_per_trial']:.2f} s" if theirs else "missing"
    return f"{found['ours']['after_first_s']:.3f} s a trial", stock, f"{found['ratio']:.1f}×" if theirs else ""


def overhead_figures(found: dict[str, Any]) -> dict[str, float]:
    return {"s a trial": found["ours"]["after_first_s"]} | ({"ratio": found["ratio"]} if found.get("peer") else {})


def ratio_figure(found: dict[str, Any]) -> dict[str, float]:
    return {"ratio": found["ratio"]}


def front_end_words(found: dict[str, Any]) -> tuple[str, str, str]:
    ours, scipys = found["ours_clips_per_s"], found["scipy_clips_per_s"]
    return f"{ours:.0f} clips/s, off by {found['difference']:.0e}", f"SciPy {scipys:.0f} clips/s", f"{found['ratio']:.2f}×"


def busy_words(found: dict[str, Any]) -> tuple[str, str, str]:
    return f"{found['ours']['wall_s']:.1f} s", f"ideal {found['ours']['ideal_s']:.1f} s", f"{100 * found['ratio']:.1f} %"


def scale_words(found: dict[str, Any]) -> tuple[str, str, str]:
    mine, (few_s, many_s) = found["ours"], found["ours"]["trial_s"].values()
    grown = f"{mine['mb_per_1000_trials']:.1f} MB per 1,000 trials"
    words = f"report {mine['report_s']:.1f} s, continue {mine['continue_s']:.1f} s, {grown}"
    draws = " → ".join(f"{1000 * draw_s:.0f} ms" for draw_s in mine["draw_s"].values())
    return words, f"{1000 * few_s:.1f} → {1000 * many_s:.1f} ms a trial; sampler apart {draws}", f"{mine['growth']:.1f}×"


def scale_figures(found: dict[str, Any]) -> dict[str, float]:
    mine = found["ours"]
    return {
        "report, s": mine["report_s"],
        "continue, s": mine["continue_s"],
        "MB": mine["mb_per_1000_trials"],
        "growth": mine["growth"],
    }


def memory_words(found: dict[str, Any]) -> tuple[str, str, str]:
    growth = found["growth"]
    grown = f"{growth['growth_bytes_a_trial'] / 1e3:.1f} kB a trial over {growth['trials']}"
    return f"{found['copies']['copies']:.2f} copies of the corpus; a worker grows {grown}", "", ""


def memory_figures(found: dict[str, Any]) -> dict[str, float]:
    return {"copies": found["copies"]["copies"], "bytes a trial": found["growth"]["growth_bytes_a_trial"]}


def packing_words(found: dict[str, Any]) -> tuple[str, str, str]:
    if not found["measured"]:
        return found["why"], "", ""
    rates = ", ".join(f"{count}: {row['trials_per_h']:.0f}" for count, row in found["k"].items())
    return f"trials an hour by trials on a GPU: {rates}", "", f"auto: {found['chosen']}"


def packing_figures(found: dict[str, Any]) -> dict[str, float]:
    return {f"{count} trials": row["trials_per_h"] for count, row in found.get("k", {}).items()}


def prepare_words(found: dict[str, Any]) -> tuple[str, str, str]:
    kinds = found["kinds"]
    ours = ", ".join(f"{kind} {row['ours_clips_per_s']:.0f} clips/s" for kind, row in kinds.items())
    peers = ", ".join(sorted({row["peer"] for row in kinds.values()}))
    return ours, peers, ", ".join(f"{kind} {row['ratio']:.1f}×" for kind, row in kinds.items() if row["ratio"])


def prepare_figures(found: dict[str, Any]) -> dict[str, float]:
    return {kind: row["ratio"] for kind, row in found["kinds"].items() if row["ratio"]}


def small_words(found: dict[str, Any]) -> tuple[str, str, str]:
    parts = ", ".join(f"{part} {100 * share:.0f} %" for part, share in found["parts"].items())
    return parts, "its own profile", f"{100 * found['share']:.0f} % of a run"


def small_figures(found: dict[str, Any]) -> dict[str, float]:
    return {"share": found["share"]}


def _training(batch: int, steps: int) -> tuple[Row, ...]:
    """With bf16 matrix units, with vector units, and without: a CPU that has either measures the last as if it had not."""
    options, name, peer = ("--batch", str(batch), "--steps", str(steps)), f"training, batch {batch}", "plain_training.py"
    matrix, other = "4.5 / 3.3 / 1.3, 10 %", "1.5 / 1.1, 10 %"
    without = (*options, "--without-bf16")
    return (
        Row(name, "training", options, peer, matrix, training_words, training_figures, bf16="matrix"),
        Row(f"{name}, bf16 vector units", "training", options, peer, other, training_words, training_figures, bf16="vector"),
        Row(f"{name}, no bf16 units", "training", without, peer, other, training_words, training_figures),
    )


ROWS = (
    Row("front end, one core", "front_end", (), None, "2×, within 1e-4", front_end_words, ratio_figure),
    *_training(16, 6),
    Row("small model: not its training", "small_model", (), None, "at most 25 %", small_words, small_figures),
    Row("platform overhead", "overhead", (), "stock_study.py", "0.10 s, 7×", overhead_words, overhead_figures),
    Row("busy slots, 40 trials × 5 s", "busy_slots", (), None, "95 %", busy_words, ratio_figure),
    Row("scale, 10,000 trials", "scale", (), None, "20 s, 15 s, 20 MB, 3×", scale_words, scale_figures),
    Row("memory, 4 workers", "memory", (), None, "1 copy, no growth", memory_words, memory_figures),
    Row("packing a GPU", "packing", (), None, "its own curve", packing_words, packing_figures),
    Row("preparing a corpus", "prepare", ("--clips", "3000"), None, "5×", prepare_words, prepare_figures, repeats_itself=True),
    *_training(64, 3),
)
