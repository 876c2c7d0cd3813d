"""A/A: how often does the whole pipeline see a difference between two copies of one arm?

    python -m tests.benchmarks.aa --studies 20 --searches 4 --out docs

Each study is a real one, on a synthetic corpus of its own voices: search, confirm, test part, Parquet files. Each of its arms is
searched `--searches` times with sampler seeds of their own; searches 0 and 1, 2 and 3, ... of one arm are then contrasted as if
they were two arms, on the same confirm seeds, through the report's own entry point. What is counted are verdicts "helps" and
"hurts", intervals that miss 0, and p below .05; once per pair of searches, and from four searches on once more with their two
halves as arms of several searches each, where the verdict covers the search. Writes aa.json and aa.md after every study; the same
command goes on from there.
"""

import argparse
import collections
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy import stats

from sermtl.corpora.synthetic import SyntheticSettings, write_synthetic
from sermtl.files import write_text
from study.contrast import Contrast, Design, contrast
from study.declare import versions
from study.results import ArmScores, load_results
from study.run import main as run_study

SPACE = """
title = "A/A"
placebo = false
square = false
[questions.emotion]
main = "emotion"
auxiliary = ["speaker"]
margin = 0.02
[search]
learning_rate = { low = 0.003, high = 0.1, log = true }
weight_decay = { low = 1e-5, high = 1e-2, log = true }
dropout = { low = 0.0, high = 0.5 }
[fixed]
schedule = "onecycle"
[size.small]
trials = 4
seeds = 5
startup = 4
rungs = [6]
finalists = 2
reruns = 1
[size.small.fixed]
epochs = 12
width = 0.0625
frequency_scale = "mel"
bins = 40
hop_ms = 25.0
window_ms = 50.0
frames = 80
clip_s = 2.0
amplitude = "log"
batch_size = 16
dev_fraction = 0.25
"""


# with `relative` at 1 these small networks hardly learn
VOICES: dict[str, Any] = {"speakers": 44, "clips_per_speaker": 18, "relative": 0.0}
ARMS = {"control": "emotion.control", "multi-task": "emotion.mtl"}


Tally = dict[str, Any]


def one_study(folder: Path, seed: int, searches: int) -> dict[str, ArmScores]:
    """Run a study of its own corpus; each arm's test scores, searches x speakers x seeds."""
    folder.mkdir()
    (folder / "aa.toml").write_text(SPACE)
    corpus = folder / "corpus.arrow"
    write_synthetic(corpus, SyntheticSettings(**VOICES, seed=seed))
    options = ["--space", str(folder / "aa.toml"), "--size", "small", "--corpus", str(corpus), "--runs", str(folder / "runs")]
    if code := run_study([*options, "--name", f"aa-{seed}", "--searches", str(searches), "--device", "cpu"]):
        raise SystemExit(code)
    found = load_results(folder / "runs" / f"aa-{seed}").arms
    return {name: found[arm] for name, arm in ARMS.items()}


def pairs(arm: ArmScores) -> list[Contrast]:
    """Search 0 against 1, 2 against 3, ...: single searches as a study with one search has them."""
    design = Design(arm.speakers, tuple(split for split, _ in arm.columns))
    return [
        contrast(arm.scores[r : r + 1], arm.scores[r + 1 : r + 2], design, margin=0.02) for r in range(0, len(arm.scores) - 1, 2)
    ]


def noise(arm: ArmScores) -> list[float]:
    """Of each of these pairs: the variance, in points squared, that its difference has from its confirm seeds alone.

    Both searches have the same seeds, so it is that of the seeds' own differences, (S,) means over speakers, over their number.
    """
    by_seed = 100 * np.nanmean(np.diff(arm.scores, axis=0)[::2], axis=1)  # pairs x seeds
    return [round(float(np.var(differences, ddof=1) / len(differences)), 3) for differences in by_seed]


def halves(arm: ArmScores) -> Contrast:
    """The first half of the searches against the second: the verdict covers the search."""
    half = len(arm.scores) // 2
    design = Design(arm.speakers, tuple(split for split, _ in arm.columns))
    return contrast(arm.scores[:half], arm.scores[half : 2 * half], design, margin=0.02)


def tally(contrasts: list[Contrast]) -> Tally:
    """What a study's contrasts add to the counts."""
    return {
        "verdicts": dict(collections.Counter(c.verdict for c in contrasts)),
        "interval_misses_zero": sum(c.low > 0 or c.high < 0 for c in contrasts),
        "p_below_05": sum(c.p < 0.05 for c in contrasts),
        "differences_points": [round(100 * c.estimate, 2) for c in contrasts],
    }


def added(first: Tally, second: Tally) -> Tally:
    """Both tallies together."""
    return {
        "verdicts": dict(collections.Counter(first["verdicts"]) + collections.Counter(second["verdicts"])),
        **{key: first[key] + second[key] for key in ("interval_misses_zero", "p_below_05", "differences_points")},
    }


def page(found: dict[str, Any]) -> str:
    lines = [
        "# A/A: two copies of one arm through the whole pipeline",
        "",
        f"Written by `python -m tests.benchmarks.aa` on {datetime.now(UTC):%Y-%m-%d}, code {', '.join(found['code'])}:",
        f"{found['studies']} studies on synthetic corpora of their own, each searching its arms {found['searches']} times",
        f"({found['trials']} trials a search, the best two settings run once more, {found['seeds']} confirm seeds,",
        f"{found['speakers']} test speakers; the control's mean test UAR is {100 * found['mean_uar']:.1f} %, chance 16.7 %).",
        "A verdict 'helps' or 'hurts' here is false as a word about the arm. As a word about the chosen settings it may be true:",
        "two searches choose different ones, and they really differ. That is what the report says beside a verdict from one",
        "search, and what `--searches` takes in.",
        "",
        _apart(found),
        "",
        "| contrast | n | false verdicts | 95 % interval | interval misses 0 | p < .05 | sd of Δ, points | verdicts |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in found["contrasts"].items():
        n, differences = len(row["differences_points"]), row["differences_points"]
        false = row["verdicts"].get("helps", 0) + row["verdicts"].get("hurts", 0)
        interval = stats.binomtest(false, n).proportion_ci()  # Clopper and Pearson's
        verdicts = ", ".join(f"{verdict} {number}" for verdict, number in sorted(row["verdicts"].items()))
        lines.append(
            f"| {name} | {n} | {100 * false / n:.0f} % | {100 * interval.low:.0f}–{100 * interval.high:.0f} % "
            f"| {100 * row['interval_misses_zero'] / n:.0f} % | {100 * row['p_below_05'] / n:.0f} % "
            f"| {np.std(differences, ddof=1) if n > 1 else 0:.1f} | {verdicts} |"
        )
    return "\n".join(lines) + "\n"


def _apart(found: dict[str, Any]) -> str:
    """The sd of a single search's result, in points, over both arms: two of them differ by sqrt(2) sds."""
    singles = [row["differences_points"] for name, row in found["contrasts"].items() if name.endswith("one search each")]
    differences = np.concatenate(singles)
    n, variance, seeds = len(differences), float(np.mean(differences**2)) / 2, float(np.mean(found["noise"])) / 2
    bounds = variance * n / stats.chi2.ppf([0.975, 0.025], n)
    low, high = np.sqrt(bounds)
    least, most = np.sqrt(np.maximum(bounds - seeds, 0))
    return (
        f"One search's result has an sd of {np.sqrt(variance):.1f} points (95 % interval {low:.1f} to {high:.1f}, {n} pairs of "
        f"searches taken as\nindependent). Its confirm seeds alone make an sd of {np.sqrt(seeds):.1f}; less these, searches differ "
        f"by an sd of\n**{np.sqrt(max(variance - seeds, 0)):.1f} points** ({least:.1f} to {most:.1f})."
    )


def judged(arms: dict[str, ArmScores], searches: int) -> dict[str, Any]:
    """What one study has come to."""
    contrasts = {f"{name}, one search each": tally(pairs(arms[name])) for name in ARMS}
    if searches >= 4:
        contrasts |= {f"{name}, {searches // 2} searches each": tally([halves(arms[name])]) for name in ARMS}
    return {
        **{"code": [versions()["code"]], "studies": 1, "searches": searches, "trials": 4, "seeds": 5},
        "made_of": made_of(),
        "speakers": len(arms["control"].speakers),
        "mean_uar": float(np.nanmean(arms["control"].scores)),
        "contrasts": contrasts,
        "noise": [variance for arm in arms.values() for variance in noise(arm)],
    }


def made_of() -> str:
    """Digest of what a study here is: counts of studies of two kinds are not added."""
    return hashlib.sha256((SPACE + json.dumps(VOICES)).encode()).hexdigest()[:12]


def together(before: dict[str, Any], study: dict[str, Any]) -> dict[str, Any]:
    """The studies before and one more."""
    n = before["studies"]
    return {
        **study,
        "code": sorted({*before["code"], *study["code"]}),
        "studies": n + 1,
        "mean_uar": (n * before["mean_uar"] + study["mean_uar"]) / (n + 1),
        "noise": before["noise"] + study["noise"],
        "contrasts": {name: added(before["contrasts"][name], counts) for name, counts in study["contrasts"].items()},
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.aa", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=20, help="studies in all; those in aa.json are not repeated")
    parser.add_argument("--searches", type=int, default=4)
    parser.add_argument("--first", type=int, default=100, help="the first corpus seed")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(argv)
    file = options.out / "aa.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if found and found["searches"] != options.searches:
        raise SystemExit(
            f"{file} is of {found['searches']} searches a study; give --searches {found['searches']}, or another --out"
        )
    if found and found.get("made_of") != made_of():
        raise SystemExit(f"{file} is of studies with another space or corpus; give another --out, or remove it to begin anew")
    with TemporaryDirectory() as folder:
        for seed in range(options.first + (found["studies"] if found else 0), options.first + options.studies):
            study = judged(one_study(Path(folder) / str(seed), seed, options.searches), options.searches)
            found = together(found, study) if found else study
            write_text(file, json.dumps(found, indent=1) + "\n")
            write_text(options.out / "aa.md", page(found))
    if found:  # also where no study was left to run
        write_text(options.out / "aa.md", page(found))
    print(page(found) if found else "no study was asked for")


if __name__ == "__main__":
    main()
