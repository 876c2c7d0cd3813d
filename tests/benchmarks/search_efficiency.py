"""How soon a search reaches a good setting: ours, random, and TPE with ASHA as documented, on a table of real trials.

    python -m tests.benchmarks.search_efficiency --repeats 40 --out docs

The trials are real (search_table.py trained them, epoch by epoch, without pruning); the searches are simulated on them, one trial
after the other: a drawn setting gets the learning curve of the nearest trained one. That is a surrogate and said to be one: it has
no more settings than the table, and a search cannot gain by refining one. Ours is the study's own sampler, start points and rungs;
stock is Optuna's TPE with its defaults and successive halving from the first epoch on by 4, as ASHA's defaults are; random runs
every trial to its end. A trial counts when it has run to its end. Time is the median second of an epoch times the epochs run.
Writes search-efficiency.json and search-efficiency.md.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from sermtl.files import write_text
from study.prune import RungPruner, is_exempt
from study.search import ArmSampler
from study.space import Arm, Space, read_space

TABLE = Path(__file__).with_name("search_table.parquet")
SHARES = (0.1, 0.05)  # of the table's settings that reach a target
Sampler = Callable[[int], BaseSampler]


@dataclass(frozen=True)
class Table:
    """Trained settings in the unit cube, their dev curves by epoch, and the median seconds of an epoch."""

    arm: Arm
    space: Space
    places: np.ndarray  # (settings, knobs)
    curves: list[list[float]]
    epoch_s: float

    def curve(self, params: dict[str, Any]) -> list[float]:
        """The nearest trained setting's curve; `epochs` counts like any other knob."""
        near = ((self.places - place(self.arm, params)) ** 2).sum(axis=1)
        return self.curves[int(near.argmin())]


def place(arm: Arm, params: dict[str, Any]) -> np.ndarray:
    """A setting in the unit cube; two different choices lie 1 apart."""
    coordinates: list[float] = []
    for knob in arm.knobs:
        distribution, value = knob.distribution, params[knob.name]
        if isinstance(distribution, CategoricalDistribution):
            coordinates += [float(value == choice) / np.sqrt(2) for choice in distribution.choices]
            continue
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        low, high, at = (np.log(v) if distribution.log else v for v in (distribution.low, distribution.high, value))
        coordinates.append(float((at - low) / (high - low)))
    return np.array(coordinates)


def read_table(path: Path) -> tuple[Table, dict[str, Any]]:
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"about"])
    space = read_space(about["space"], about["size"])
    arm = next(arm for arm in space.arms if arm.key == about["arm"])
    rows = [row for row in table.to_pylist() if len(row["values"]) == row["epochs"]]
    epoch_s = float(np.median(np.concatenate([row["seconds"] for row in rows])))
    return Table(arm, space, np.array([place(arm, row) for row in rows]), [row["values"] for row in rows], epoch_s), about


def search(
    table: Table, sampler: Sampler, pruner: BasePruner, trials: int, starts: bool, exempt: float
) -> list[tuple[float, float]]:
    """One simulated search: (device-seconds so far, best final value so far) after every trial."""
    study = optuna.create_study(direction="maximize", pruner=pruner)
    distributions = {knob.name: knob.distribution for knob in table.arm.knobs}
    spent, best, path = 0.0, float("-inf"), []
    for number in range(trials):
        study.sampler = sampler(number)
        if starts and number < len(table.space.starts):
            study.enqueue_trial({k: v for k, v in table.space.starts[number].items() if k in distributions})
        trial = study.ask(distributions)
        state, value = TrialState.COMPLETE, float("nan")
        for epoch, value in enumerate(table.curve(trial.params), start=1):
            spent += table.epoch_s
            trial.report(value, epoch)
            if not is_exempt(number, exempt) and epoch < len(table.curve(trial.params)) and trial.should_prune():
                state = TrialState.PRUNED
                break
        study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
        best = max(best, value) if state == TrialState.COMPLETE else best
        path.append((spent, best))
    return path


def searches(table: Table, repeat: int, trials: int) -> dict[str, list[tuple[float, float]]]:
    """The three ways, each with this repeat's seed; random gets the trials that need as many epochs at most."""
    budget, distributions = table.space.budget, {knob.name: knob.distribution for knob in table.arm.knobs}

    def own(number: int) -> BaseSampler:
        return ArmSampler(distributions, budget.startup, (repeat, 0, number))

    def once(sampler: BaseSampler) -> Sampler:
        return lambda number: sampler

    return {
        "ours": search(table, own, RungPruner(budget.rungs, budget.keep), trials, True, budget.exempt),
        "random": search(table, once(RandomSampler(seed=repeat)), NopPruner(), trials, False, 0.0),
        "stock": search(
            table, once(TPESampler(seed=repeat)), SuccessiveHalvingPruner(min_resource=1, reduction_factor=4), trials, False, 0.0
        ),
    }


def reached(path: list[tuple[float, float]], target: float) -> float:
    """Device-seconds until the target; infinite where it was not reached."""
    return next((spent for spent, best in path if best >= target), float("inf"))


def compare(table: Table, repeats: int, trials: int) -> dict[str, Any]:
    """Device-seconds of every search to each of the targets."""
    runs = [searches(table, repeat, trials) for repeat in range(repeats)]
    finals = [curve[-1] for curve in table.curves]
    return {"best_of_table": max(finals), "targets": {f"{share:.0%}": at_target(runs, finals, share) for share in SHARES}}


def at_target(runs: list[dict[str, list[tuple[float, float]]]], finals: list[float], share: float) -> dict[str, Any]:
    """How soon the dev score is reached that `share` of the table's settings reach."""
    found: dict[str, Any] = {"target": float(np.quantile(finals, 1 - share, method="higher"))}
    for name in runs[0]:
        seconds = np.array([reached(run[name], found["target"]) for run in runs])
        found[name] = {
            "median_s": float(np.median(seconds)),
            "quartiles_s": [float(np.quantile(seconds, q, method="nearest")) for q in (0.25, 0.75)],
            "reached": float(np.isfinite(seconds).mean()),
            "trials_s": float(np.median([run[name][-1][0] for run in runs])),
            "end": float(np.median([run[name][-1][1] for run in runs])),
        }
    return found


def page(found: dict[str, Any], about: dict[str, Any]) -> str:
    lines = [
        "# Search efficiency",
        "",
        f"Written by `python -m tests.benchmarks.search_efficiency --repeats {found['repeats']}`. Searches simulated on a table of",
        f"{found['settings']} real trials (corpus {about['corpus']} {about['checksum'][:12]}, space {about['space']},",
        f"size {about['size']}, arm {about['arm']}): a drawn setting gets the learning curve of the nearest trained one.",
        f"{found['trials']} trials a search. The table's best final dev {about['objective']} is {found['best_of_table']:.3f}: one",
        "run of one seed on few dev speakers, so that its very best settings are so by luck, and drawing many is what finds",
        "them. The targets are therefore quantiles of the table: a good setting, and a very good one.",
        "",
    ]
    for quantile, at in found["targets"].items():
        lines += [
            f"**Target: dev {about['objective']} {at['target']:.3f}, which {quantile} of the table's settings reach**",
            "",
            *rows(at),
            "",
        ]
    return "\n".join(lines)


def rows(at: dict[str, Any]) -> list[str]:
    """One target's table."""

    def seconds(value: float) -> str:
        return f"{value:,.0f}" if np.isfinite(value) else "not reached"

    base = at["random"]["median_s"]
    lines = [
        "| search | device-seconds to the target | quartiles | reached in | of random's | whole search, s | best at its end |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for name in ("ours", "stock", "random"):
        row = at[name]
        share = f"{row['median_s'] / base:.2f}" if np.isfinite(row["median_s"]) else "–"
        low, high = (seconds(value) for value in row["quartiles_s"])
        lines.append(
            f"| {name} | {seconds(row['median_s'])} | {low} to {high} | {100 * row['reached']:.0f} % | {share} "
            f"| {seconds(row['trials_s'])} | {row['end']:.3f} |"
        )
    return lines


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, about = read_table(options.table)
    found = compare(table, options.repeats, options.trials)
    found |= {"repeats": options.repeats, "trials": options.trials, "settings": len(table.curves), "about": about}
    write_text(options.out / "search-efficiency.json", json.dumps(found, indent=1) + "\n")
    write_text(options.out / "search-efficiency.md", page(found, about))
    print(page(found, about))


if __name__ == "__main__":
    main()
