"""Is the synthetic corpus's effect found by the pipeline? The recipe of tests/benchmarks/effect.py in studies of its own.

    python -m tests.benchmarks.effect_found --relative 1 --corpora 6 --unseen 120 --seeds 8 --out docs/effect

Each of `--corpora` corpora of new voices gets one study: one question, both arms with effect.py's fixed recipe (weight 0.5),
`--unseen` test speakers, `--seeds` confirm seeds, the report's own verdict. With `--trials N` rate, decay, dropout and weight are
searched instead. After every study found-RELATIVE-SPEAKERSxSEEDS.json (searched-...) is written, and effect.md out of every JSON
in the folder, effect.py's among them. The same command goes on from there; `--relative` without a number writes the page alone.
"""

import argparse
import collections
import json
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sermtl.corpora.synthetic import SyntheticSettings, write_synthetic
from sermtl.files import write_text
from study.declare import versions
from study.results import load_results
from study.run import main as run_study
from tests.benchmarks.effect import RECIPE, SPACE

FIRST = 100  # the seed of effect.py's first fresh corpus
SEEN, CLIPS, WEIGHT, MARGIN = 24, 18, 0.5, 0.02


def space(trials: int, seeds: int, unseen: int) -> str:
    """The space file: fixed, or searched around the same recipe."""
    fixed = tomllib.loads(SPACE.read_text(encoding="utf-8"))["size"]["small"]["fixed"] | RECIPE
    fixed |= {"test_fraction": unseen / (SEEN + unseen), "dev_fraction": 0.25 if trials else 0.0}
    if trials:
        del fixed["learning_rate"]
    lines = [
        *('title = "A known effect"', "placebo = false", "square = false"),
        *("[questions.emotion]", 'main = "emotion"', 'auxiliary = ["speaker"]', f"margin = {MARGIN}", "[weights]"),
        "speaker = { low = 0.1, high = 2.0, log = true }" if trials else f"speaker = {WEIGHT}",
        *(["[search]", "learning_rate = { low = 0.005, high = 0.1, log = true }"] if trials else []),
        *(["weight_decay = { low = 1e-5, high = 1e-2, log = true }", "dropout = { low = 0.0, high = 0.5 }"] if trials else []),
        *("[size.small]", f"seeds = {seeds}", *([f"trials = {trials}", "startup = 4", "rungs = [12]"] if trials else [])),
        "[size.small.fixed]",
        *(f"{name} = {json.dumps(value)}" for name, value in fixed.items()),
    ]
    return "\n".join(lines) + "\n"


def find(seed: int, options: argparse.Namespace, relative: float, folder: Path) -> dict[str, Any]:
    """Run one study on the corpus of this seed; what its report's first screen says, in points."""
    (folder / "effect.toml").write_text(space(options.trials, options.seeds, options.unseen))
    corpus = folder / "corpus.arrow"
    settings = SyntheticSettings(speakers=SEEN + options.unseen, clips_per_speaker=CLIPS, relative=relative, seed=seed)
    write_synthetic(corpus, settings)
    command = ["--space", str(folder / "effect.toml"), "--size", "small", "--corpus", str(corpus), "--device", "cpu"]
    if code := run_study([*command, "--runs", str(folder / "runs"), "--name", "effect"]):
        raise SystemExit(code)
    c = load_results(folder / "runs" / "effect").questions[0].contrast
    if (c.n_speakers, c.n_seeds) != (options.unseen, options.seeds):
        raise SystemExit(
            f"corpus {seed}: {c.n_speakers} speakers x {c.n_seeds} seeds instead of {options.unseen} x {options.seeds}"
        )
    return {
        **{"corpus": seed, "code": versions()["code"], "verdict": c.verdict, "p": c.p_holm, "points": 100 * c.estimate},
        **{"low": 100 * c.low, "high": 100 * c.high, "detectable": 100 * c.minimum_detectable, "control_uar": c.second_mean},
    }


def measured_effects(found: list[dict[str, Any]]) -> dict[float, tuple[float, float, float]]:
    """effect.py's measurements: relative -> difference in points, low, high."""
    helped = {one["relative"]: list(one["weights"].values())[1] for one in found if "weights" in one}
    return {relative: (line["delta_points"], *line["interval"]) for relative, line in helped.items()}


def page(folder: Path) -> str:
    """Everything that was measured, side by side."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    effects = measured_effects(found)
    lines = [
        "# The true effect in the synthetic corpus, and whether the pipeline finds it",
        "",
        "Written by `python -m tests.benchmarks.effect_found` from the files in `docs/effect`. `relative` is the corpus's knob:",
        "at 1 an emotion is a change from the speaker's own baseline, so that knowing the speaker should help; at 0 it should not.",
        "",
        "The effect: UAR on unseen speakers, speaker task on (w = 0.5) minus off, the same recipe and initial weights, a corpus",
        "of its own for every seed; 95 % t interval over seeds.",
        "",
        *("| relative | corpora | control UAR | Δ, points | 95 % interval |", "| --- | ---: | ---: | ---: | --- |"),
    ]
    for effect in (one for one in found if "weights" in one):
        delta, low, high = effects[effect["relative"]]
        control = next(iter(effect["weights"].values()))
        row = (f"{effect['relative']:g}", effect["seeds"], f"{100 * control['uar']:.1f} %", f"{delta:+.1f}")
        lines.append(f"| {' | '.join(map(str, row))} | {low:+.1f} to {high:+.1f} |")
    lines += [
        "",
        f"The pipeline: whole studies, each on a corpus of its own, {SEEN} training speakers; margin ± {100 * MARGIN:g} points.",
        "`detectable` is what a study of this size finds four times in five, ± half of its 95 % interval (the studies'",
        "medians). `holds Δ`: intervals that hold",
        "the effect measured above. A study's interval is about new speakers and new seeds for its own training speakers: what",
        "the second task does for other training voices varies, and is no part of it.",
        "",
        "| relative | settings | speakers × seeds | studies | control UAR | mean Δ | sd of Δ | ± | of each study "
        "| detectable | holds Δ | p < .05 | verdicts |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    lines += [studies_row(one, effects) for one in sorted((one for one in found if "studies" in one), key=place)]
    return "\n".join(lines) + "\n"


def place(found: dict[str, Any]) -> tuple[Any, ...]:
    """The order of the page's rows."""
    return found["trials"], found["speakers"], found["seeds"], found["relative"]


def studies_row(found: dict[str, Any], effects: dict[float, tuple[float, float, float]]) -> str:
    """The studies of one size at one place of the knob."""
    studies, relative = found["studies"], found["relative"]
    number = len(studies)
    delta = effects[relative][0] if relative in effects else None
    holds = "" if delta is None else f"{sum(one['low'] <= delta <= one['high'] for one in studies)} of {number}"
    verdicts = collections.Counter(one["verdict"] for one in studies)
    return "| " + " | ".join(
        [
            f"{relative:g}",
            f"searched, {found['trials']} trials an arm" if found["trials"] else "the fixed recipe",
            f"{found['speakers']} × {found['seeds']}",
            str(number),
            f"{100 * np.mean([one['control_uar'] for one in studies]):.1f} %",
            f"{np.mean([one['points'] for one in studies]):+.1f}",
            f"{np.std([one['points'] for one in studies], ddof=1):.1f}" if number > 1 else "–",
            f"{np.median([one['high'] - one['low'] for one in studies]) / 2:.1f}",
            "; ".join(f"{one['points']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]" for one in studies),
            f"{np.median([one['detectable'] for one in studies]):.1f}",
            holds,
            f"{sum(one['p'] < 0.05 for one in studies)} of {number}",
            ", ".join(f"{verdict} {times}" for verdict, times in sorted(verdicts.items())) + " |",
        ]
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.effect_found", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--relative", type=float, nargs="*", default=[1.0, 0.0], help="the knob, 0 to 1; none: the page alone")
    parser.add_argument("--corpora", type=int, default=6, help="studies, each on a corpus of its own (default 6)")
    parser.add_argument("--unseen", type=int, default=120, help="test speakers (default 120)")
    parser.add_argument("--seeds", type=int, default=8, help="confirm seeds (default 8)")
    parser.add_argument("--trials", type=int, default=0, help="search this many trials an arm; 0: the fixed recipe")
    parser.add_argument("--out", type=Path, default=Path("docs/effect"))
    options = parser.parse_args(argv)
    for relative in options.relative:
        name = f"{'searched' if options.trials else 'found'}-{relative:g}-{options.unseen}x{options.seeds}.json"
        about = {"relative": relative, "trials": options.trials, "speakers": options.unseen, "seeds": options.seeds}
        path = options.out / name
        studies = json.loads(path.read_text(encoding="utf-8"))["studies"] if path.exists() else []
        for seed in range(FIRST + len(studies), FIRST + options.corpora):
            with TemporaryDirectory() as folder:
                studies.append(find(seed, options, relative, Path(folder)))
            write_text(path, json.dumps({**about, "studies": studies}, indent=1) + "\n")
    text = page(options.out)
    write_text(options.out.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
