"""How soon a search has chosen a good setting: ours, random, and TPE with ASHA as documented, on a surrogate of real trials.

    python -m tests.benchmarks.search_efficiency --repeats 60 --out docs

The trials are real (search_table.py trained them, epoch by epoch, without pruning). One run's score on few dev speakers is to a
good part its seed's luck, so that of many trials the best looks better than its setting is. What a search is for is the setting:
the surrogate has for every setting an expected learning curve (extremely randomised trees over the trials), and a run of it is
that curve and the luck of one of the real runs, its residual out of fold. A search sees runs; what counts is the expected final
score of the setting that it would choose, the one of the best final run so far, after so much device time.

Ours is the study's own sampler, start points and rungs, with time kept to run the best settings again, of which the one with the
best mean is chosen (study.finalists); then the same without reruns, and with early rungs. Stock is Optuna's TPE with its defaults
and successive halving from the first epoch on by 4, as ASHA's defaults are; random runs every trial to its end. All get the same
device time, that of `--trials` trials which nothing stops. Writes search-efficiency.json and search-efficiency.md.
"""

import argparse
import json
from collections import defaultdict
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
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold, cross_val_predict

from sermtl.files import write_text
from study.budget import random_first
from study.prune import RungPruner, is_exempt
from study.search import ArmSampler
from study.space import Arm, Space, read_space

TABLE = Path(__file__).with_name("search_table.parquet")
AT = np.linspace(0, 1, 15)[1:]  # shares of a run's epochs at which curves are compared
EARLY_RUNGS = (3, 6)  # a fifth and two fifths of a run
ONCE = "ours, no setting run again"
EARLY = f"the same, half stopped at epochs {EARLY_RUNGS[0]} and {EARLY_RUNGS[1]}"
FINALISTS, RERUNS = 4, 2  # as in search_spaces/mtl.toml, size full
LOOKS = (0.25, 0.5, 0.75, 1.0)  # shares of the device time after which the choice is told
Sampler = Callable[[int], BaseSampler]
Trace = list[tuple[float, float]]


@dataclass(frozen=True)
class Surrogate:
    """Expected curves of any setting, and the luck of real runs.

    luck      (runs, len(AT)) of what a real run was above its expected curve, out of fold
    explained share of the variance of final scores between runs that the expected ones have, out of fold
    seed_sd   sd of the final score over seeds within a setting that was trained several times, of `seed_runs` runs; NaN if none was
    """

    arm: Arm
    space: Space
    trees: ExtraTreesRegressor
    luck: np.ndarray
    explained: float
    epoch_s: float
    seed_sd: float
    seed_runs: int

    def expected(self, params: dict[str, Any]) -> np.ndarray:
        """(len(AT),) the objective at shares of the setting's epochs; `epochs` counts like any other knob."""
        at = place(self.arm, params).astype(np.float32)[None]
        return np.asarray(np.mean([tree.tree_.predict(at).reshape(-1) for tree in self.trees.estimators_], axis=0))


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


def read_surrogate(path: Path) -> tuple[Surrogate, dict[str, Any]]:
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"about"])
    space = read_space(about["space"], about["size"])
    arm = next(arm for arm in space.arms if arm.key == about["arm"])
    rows = [row for row in table.to_pylist() if len(row["values"]) == row["epochs"]]
    places = np.array([place(arm, row) for row in rows])
    curves = np.array([np.interp(AT, np.arange(1, row["epochs"] + 1) / row["epochs"], row["values"]) for row in rows])
    trees = ExtraTreesRegressor(100, min_samples_leaf=2, random_state=0)
    settings = [row["setting"] for row in rows]
    luck = curves - cross_val_predict(trees, places, curves, groups=settings, cv=GroupKFold(20))
    again: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row["time"]:  # the first runs chose the settings, and are the luckier for it
            again[row["setting"]].append(row["values"][-1])
    variances = [np.var(scores, ddof=1) for scores in again.values() if len(scores) > 1]
    about["runs"], about["settings"] = len(rows), len(set(settings))
    surrogate = Surrogate(
        arm,
        space,
        trees.fit(places, curves),
        luck,
        1 - float(luck[:, -1].var() / curves[:, -1].var()),
        float(np.median(np.concatenate([row["seconds"] for row in rows]))),
        float(np.sqrt(np.mean(variances))) if variances else float("nan"),
        sum(len(scores) for scores in again.values()),
    )
    return surrogate, about


def search(
    surrogate: Surrogate,
    sampler: Sampler,
    pruner: BasePruner,
    limit_s: float,
    starts: bool,
    exempt: float,
    luck: np.random.Generator,
    again: bool,
) -> Trace:
    """One simulated search: (device-seconds so far, expected score of the setting it would choose) whenever a run has ended.

    again: its best settings are run again, and the trials end in time for that.
    """
    study = optuna.create_study(direction="maximize", pruner=pruner)
    distributions = {knob.name: knob.distribution for knob in surrogate.arm.knobs}
    spent, best, chosen, path, number = 0.0, float("-inf"), float("nan"), [], 0
    complete: list[tuple[float, float, int]] = []  # value, expected score, epochs
    longest = max(knob.distribution.high for knob in surrogate.arm.knobs if knob.name == "epochs")  # type: ignore[attr-defined]
    kept_s = (FINALISTS * RERUNS + 1) * longest * surrogate.epoch_s if again else 0.0
    while spent < limit_s - kept_s or not path:
        study.sampler = sampler(number)
        if starts and number < len(surrogate.space.starts):
            study.enqueue_trial({k: v for k, v in surrogate.space.starts[number].items() if k in distributions})
        trial = study.ask(distributions)
        expected = surrogate.expected(trial.params)
        curve = expected + surrogate.luck[luck.integers(len(surrogate.luck))]
        epochs = trial.params["epochs"]
        state, value = TrialState.COMPLETE, float("nan")
        for epoch, value in enumerate(np.interp(np.arange(1, epochs + 1) / epochs, AT, curve).tolist(), start=1):
            spent += surrogate.epoch_s
            trial.report(value, epoch)
            if not is_exempt(number, exempt) and epoch < epochs and trial.should_prune():
                state = TrialState.PRUNED
                break
        study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
        if state == TrialState.COMPLETE:
            complete.append((value, float(expected[-1]), epochs))
            if value > best:
                best, chosen = value, float(expected[-1])
        path.append((spent, chosen))
        number += 1
    return [*path, *run_again(surrogate, complete, spent, luck)] if again else path


def run_again(surrogate: Surrogate, complete: list[tuple[float, float, int]], spent: float, luck: np.random.Generator) -> Trace:
    """The end of a search: its best settings run again, and then the best mean chosen. complete: value, expected score, epochs."""
    finalists = sorted(complete, key=lambda run: -run[0])[:FINALISTS]
    means = []
    for value, expected, epochs in finalists:
        others = expected + surrogate.luck[luck.integers(len(surrogate.luck), size=RERUNS), -1]
        means.append(float(np.mean([value, *others])))
        spent += RERUNS * epochs * surrogate.epoch_s
    return [(spent, finalists[int(np.argmax(means))][1])] if finalists else []


def searches(surrogate: Surrogate, repeat: int, limit_s: float, trials: int) -> dict[str, Trace]:
    """The ways to search, each with this repeat's seed."""
    budget, distributions = surrogate.space.budget, {knob.name: knob.distribution for knob in surrogate.arm.knobs}
    startup = random_first(budget.startup, trials)

    def own(number: int) -> BaseSampler:
        return ArmSampler(distributions, startup, (repeat, 0, number))

    def once(sampler: BaseSampler) -> Sampler:
        return lambda number: sampler

    def run(sampler: Sampler, pruner: BasePruner, starts: bool = False, exempt: float = 0.0, again: bool = False) -> Trace:
        return search(surrogate, sampler, pruner, limit_s, starts, exempt, np.random.default_rng(repeat), again)

    return {
        "random": run(once(RandomSampler(seed=repeat)), NopPruner()),
        "ours": run(own, RungPruner(budget.rungs, budget.keep), True, budget.exempt, again=True),
        ONCE: run(own, RungPruner(budget.rungs, budget.keep), True, budget.exempt),
        EARLY: run(own, RungPruner(EARLY_RUNGS, 0.5), True, budget.exempt),
        "stock": run(once(TPESampler(seed=repeat)), SuccessiveHalvingPruner(min_resource=1, reduction_factor=4)),
    }


def chosen_at(path: Trace, spent_s: float) -> float:
    """Expected score of what the search would have chosen by then; NaN before its first run has ended."""
    return next((chosen for spent, chosen in reversed(path) if spent <= spent_s), float("nan"))


def compare(surrogate: Surrogate, repeats: int, trials: int) -> dict[str, Any]:
    """Means over repeats of every way's choice, and when it is as good as random's at the end."""
    epochs = next(knob.distribution for knob in surrogate.arm.knobs if knob.name == "epochs")
    assert isinstance(epochs, IntDistribution)
    limit_s = trials * surrogate.epoch_s * (epochs.low + epochs.high) / 2
    runs = [searches(surrogate, repeat, limit_s, trials) for repeat in range(repeats)]
    times = np.linspace(0, limit_s, 101)[1:]
    found: dict[str, Any] = {"limit_s": limit_s, "ways": {}}
    means = {name: np.array([[chosen_at(run[name], time) for time in times] for run in runs]) for name in runs[0]}
    goal = float(means["random"][:, -1].mean())
    for name, at in means.items():
        mean = at.mean(axis=0)  # NaN until every search has chosen
        as_good = np.flatnonzero(mean >= goal)
        found["ways"][name] = {
            "trials": float(np.mean([len(run[name]) for run in runs])),
            "chosen": [float(mean[round(100 * look) - 1]) for look in LOOKS],
            "se": float(at[:, -1].std(ddof=1) / np.sqrt(repeats)),
            "as_good_s": float(times[as_good[0]]) if len(as_good) else None,
        }
    return found


def page(found: dict[str, Any], about: dict[str, Any]) -> str:
    explained, seed_sd, luck_sd = (100 * found[key] for key in ("explained", "seed_sd", "luck_sd"))
    corpus = f"corpus {about['corpus']} {about['checksum'][:12]}, space {about['space']}, size {about['size']}, arm {about['arm']}"
    looks = [f"after {100 * look:.0f} %" for look in LOOKS]
    repeats, runs, settings, again = found["repeats"], about["runs"], about["settings"], found["seed_runs"]
    lines = [
        "# Search efficiency",
        "",
        f"Written by `python -m tests.benchmarks.search_efficiency --repeats {repeats}`. Searches simulated on a surrogate of",
        f"{runs} real runs of {settings} settings ({corpus}).",
        "",
        f"One run's dev {about['objective']} tells little of its setting: expected scores explain {explained:.0f} % of the",
        f"variance between runs, and a run's luck has an sd of {luck_sd:.1f} points. (Of settings that were trained again, {again}",
        f"runs in all, scores differ between seeds with an sd of {seed_sd:.1f} points.) So what is told of a search is not",
        "the best score that it has seen, which is luck as well, but the expected score, in per cent, of the setting that it",
        "would choose: the one of its best run so far, or of the best mean once settings were run again.",
        f"*Ours* keeps the time to run its {FINALISTS} best settings {RERUNS} times more, as the spaces' size `full` does.",
        "*Stock* is Optuna's TPE as it comes, with successive halving from the first epoch on, as Ray Tune's documentation",
        "combines them.",
        "",
        f"Device time of each search: {found['limit_s']:.0f} s, that of {found['trials']} whole trials. ±: standard error of the",
        "last choice. *as good as random*: when the mean choice is as good as random's at the end.",
        "",
        f"| search | trials begun | {' | '.join(looks)} | ± | as good as random | of random's time |",
        f"| --- |{' ---: |' * (len(LOOKS) + 4)}",
    ]
    for name, way in found["ways"].items():
        chosen = " | ".join(f"{100 * score:.1f}" for score in way["chosen"])
        as_good = way["as_good_s"]
        time = ("not reached", "–") if as_good is None else (f"{as_good:.0f} s", f"{as_good / found['limit_s']:.2f}")
        lines.append(f"| {name} | {way['trials']:.0f} | {chosen} | {100 * way['se']:.1f} | {' | '.join(time)} |")
    return "\n".join([*lines, ""])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--trials", type=int, default=40, help="whole trials that the device time is enough for (size full has 40)")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    surrogate, about = read_surrogate(options.table)
    found = compare(surrogate, options.repeats, options.trials)
    found |= {"repeats": options.repeats, "trials": options.trials, "about": about, "explained": surrogate.explained}
    found |= {"luck_sd": float(surrogate.luck[:, -1].std()), "seed_sd": surrogate.seed_sd, "seed_runs": surrogate.seed_runs}
    write_text(options.out / "search-efficiency.json", json.dumps(found, indent=1) + "\n")
    write_text(options.out / "search-efficiency.md", page(found, about))
    print(page(found, about))


if __name__ == "__main__":
    main()
