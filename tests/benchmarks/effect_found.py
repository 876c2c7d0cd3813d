"""Is the synthetic corpus's effect found by the pipeline? The recipe of tests/benchmarks/effect.py as a study of its own.

    python -m tests.benchmarks.effect_found --relative 1 --seeds 10 --out docs/effect

One corpus of the size that effect.py makes, one question, both arms with effect.py's fixed recipe (weight 0.5), `--seeds` confirm
seeds, the report's own verdict. With `--trials N` rate, decay, dropout and weight are searched instead. Writes
found-RELATIVE.json (searched-RELATIVE.json), and effect.md out of every JSON in the folder, effect.py's among them.
"""

import argparse
import json
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sermtl.corpora.synthetic import SyntheticSettings, write_synthetic
from sermtl.files import write_text
from study.declare import versions
from study.results import load_results
from study.run import main as run_study
from tests.benchmarks.effect import RECIPE, SPACE

FIRST = 100  # the seed of effect.py's first fresh corpus
SEEN, UNSEEN, CLIPS, WEIGHT = 24, 24, 18, 0.5


def space(trials: int, seeds: int) -> str:
    """The space file: fixed, or searched around the same recipe."""
    fixed = tomllib.loads(SPACE.read_text(encoding="utf-8"))["size"]["small"]["fixed"] | RECIPE
    fixed |= {"test_fraction": UNSEEN / (SEEN + UNSEEN), "dev_fraction": 0.25 if trials else 0.0}
    if trials:
        del fixed["learning_rate"]
    lines = [
        *('title = "A known effect"', "placebo = false", "square = false"),
        *("[questions.emotion]", 'main = "emotion"', 'auxiliary = ["speaker"]', "margin = 0.02", "[weights]"),
        "speaker = { low = 0.1, high = 2.0, log = true }" if trials else f"speaker = {WEIGHT}",
        *(["[search]", "learning_rate = { low = 0.005, high = 0.1, log = true }"] if trials else []),
        *(["weight_decay = { low = 1e-5, high = 1e-2, log = true }", "dropout = { low = 0.0, high = 0.5 }"] if trials else []),
        *("[size.small]", f"seeds = {seeds}", *([f"trials = {trials}", "startup = 4", "rungs = [12]"] if trials else [])),
        "[size.small.fixed]",
        *(f"{name} = {json.dumps(value)}" for name, value in fixed.items()),
    ]
    return "\n".join(lines) + "\n"


def find(relative: float, trials: int, seeds: int, folder: Path) -> dict[str, Any]:
    """Run the study; what its report's first screen says."""
    (folder / "effect.toml").write_text(space(trials, seeds))
    corpus = folder / "corpus.arrow"
    settings = SyntheticSettings(speakers=SEEN + UNSEEN, clips_per_speaker=CLIPS, relative=relative, seed=FIRST)
    write_synthetic(corpus, settings)
    options = ["--space", str(folder / "effect.toml"), "--size", "small", "--corpus", str(corpus), "--device", "cpu"]
    if code := run_study([*options, "--runs", str(folder / "runs"), "--name", "effect"]):
        raise SystemExit(code)
    c = load_results(folder / "runs" / "effect").questions[0].contrast
    return {
        **{"kind": "study", "relative": relative, "trials": trials, "code": versions()["code"]},
        **{"verdict": c.verdict, "scope": c.scope, "points": round(100 * c.estimate, 2), "p": c.p_holm},
        **{"interval": [round(100 * c.low, 2), round(100 * c.high, 2)], "detectable": round(100 * c.minimum_detectable, 2)},
        **{"speakers": c.n_speakers, "seeds": c.n_seeds, "control_uar": c.second_mean, "margin": 100 * c.margin},
    }


def page(folder: Path) -> str:
    """Everything that was measured, side by side."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
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
        control, helped = (effect["weights"][weight] for weight in list(effect["weights"])[:2])
        low, high = helped["interval"]
        row = (f"{effect['relative']:g}", effect["seeds"], f"{100 * control['uar']:.1f} %", f"{helped['delta_points']:+.1f}")
        lines.append(f"| {' | '.join(map(str, row))} | {low:+.1f} to {high:+.1f} |")
    lines += [
        "",
        "The pipeline, one study on one corpus each; margin ± 2 points. `detectable` is what a study of this size finds four",
        "times in five.",
        "",
        "| relative | settings | speakers × seeds | control UAR | Δ, points | 95 % interval | p | detectable | verdict |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for study in (one for one in found if one.get("kind") == "study"):
        low, high = study["interval"]
        settings = f"searched, {study['trials']} trials an arm" if study["trials"] else "the fixed recipe"
        row = (f"{study['relative']:g}", settings, f"{study['speakers']} × {study['seeds']}", f"{100 * study['control_uar']:.1f} %")
        numbers = (f"{study['points']:+.1f}", f"{low:+.1f} to {high:+.1f}", f"{study['p']:.3f}", f"{study['detectable']:.1f}")
        lines.append(f"| {' | '.join((*row, *numbers))} | {study['verdict']} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.effect_found", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--relative", type=float, nargs="*", default=[1.0, 0.0], help="the knob, 0 to 1; none: the page alone")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=0, help="search this many trials an arm; 0: the fixed recipe")
    parser.add_argument("--out", type=Path, default=Path("docs/effect"))
    options = parser.parse_args(argv)
    for relative in options.relative:
        with TemporaryDirectory() as folder:
            found = find(relative, options.trials, options.seeds, Path(folder))
        name = f"{'searched' if options.trials else 'found'}-{relative:g}.json"
        write_text(options.out / name, json.dumps(found, indent=1) + "\n")
    text = page(options.out)
    write_text(options.out.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
