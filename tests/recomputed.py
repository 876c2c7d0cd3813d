"""The report's contrasts, computed again by other hands: from scores.parquet alone, with pandas, statsmodels and SciPy.

    python -m tests.recomputed runs/NAME/report

Reads what the report printed (data/contrasts.csv, report.md) and the scores it stands on (data/scores.parquet), and imports
nothing of `study`. Prints one line per contrast and exits with 1 where a printed digit differs. Contrasts of parts of the
clips and of other scores than the question's own need predictions, which are not in a report: they are counted as left out.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import networkx
import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

NUMBERS = (
    "estimate",
    "low",
    "high",
    "low90",
    "high90",
    "p",
    "p_holm",
    "first_mean",
    "second_mean",
    "relative_gain",
    "minimum_detectable",
)


@dataclass(frozen=True)
class Mean:
    """A mean of differences, its standard error and degrees of freedom."""

    estimate: float
    se: float
    df: float

    def interval(self, level: float) -> tuple[float, float]:
        low, high = stats.t.interval(level, self.df, self.estimate, self.se)
        return float(low), float(high)


def crossed(table: pd.DataFrame) -> Mean:
    """Speakers (rows) x runs (columns), both random, NaN where there is no cell: mean squares of each factor given the other.

    They come from a two-way analysis of variance of type II. The mean's variance is the sum of each component times its sum of
    squared weights; a factor that varies less than the residual is dropped.
    """
    cells = table.notna().to_numpy()
    weights = cells / cells.sum(axis=1, keepdims=True) / len(table)
    estimate = float(np.nansum(weights * table.to_numpy()))
    if 1 in table.shape:
        values = table.to_numpy()[cells]
        return Mean(estimate, float(stats.sem(values)), len(values) - 1)
    speaker, run = np.nonzero(cells)
    long = pd.DataFrame({"d": table.to_numpy()[cells], "speaker": speaker, "run": run})
    found = anova_lm(ols("d ~ C(speaker) + C(run)", long).fit(), typ=2)
    square = found["sum_sq"] / found["df"]
    over, left = float(square["Residual"]), float((weights**2).sum())
    terms = []
    for factor, shares, others in (
        ("C(speaker)", weights.sum(axis=1), table.shape[1]),
        ("C(run)", weights.sum(axis=0), table.shape[0]),
    ):
        if square[factor] > over * (1 + 1e-9):  # a rounding error is no variance
            times = float((shares**2).sum()) * found["df"][factor] / (len(long) - others)
            terms.append((times * float(square[factor]), found["df"][factor]))
            left -= times
    terms.append((left * over, found["df"]["Residual"]))
    variance = sum(term for term, _ in terms)
    df = variance**2 / sum(term**2 / free for term, free in terms)
    df = min(df, 2 * min(found["df"]["C(speaker)"], found["df"]["C(run)"]))
    return Mean(estimate, variance**0.5, max(df, 1 / (1 / found["df"]).sum()))


def folds_of(grouped: pd.DataFrame) -> list[list[object]]:
    """Sets of speakers that share no column with another set; in a fold each speaker has every column, else the set is one."""
    graph = networkx.Graph((("speaker", row), ("column", column)) for row, column in grouped.stack().dropna().index)
    sets = [[name for kind, name in part if kind == "speaker"] for part in networkx.connected_components(graph)]
    whole = all(grouped.loc[names].dropna(how="all", axis=1).notna().all(axis=None) for names in sets)
    return sets if whole else [list(grouped.index)]


def analysed(table: pd.DataFrame) -> Mean:
    """Differences by speaker (rows) and (search, split, seed) (columns), NaN where a speaker is not in a split's test part."""
    grouped = by_group(table)
    if grouped.shape[1] == 1:
        return crossed(table)
    if len(folds := folds_of(grouped)) > 1:  # each speaker in one of them
        means = [grouped.loc[names].mean(axis=1).mean() for names in folds]
        of_seed = table.T.groupby(level="seed").mean().T
        return with_seeds(float(np.mean(means)), means, pd.DataFrame([of_seed.loc[names].mean() for names in folds]))
    if grouped.notna().sum(axis=None) < sum(grouped.shape):  # draws that share hardly a speaker: no residual is left
        units = units_by_seeds(table)
        return with_seeds(float(grouped.mean(axis=1).mean()), units.mean(axis=1).tolist(), units)
    of_group, of_seed = crossed(grouped), crossed(table.T.groupby(level="seed").mean().T)
    candidates = (of_group, of_seed, with_seed_variance(of_group, units_by_seeds(table)))
    wide = max(candidates, key=lambda mean: np.diff(mean.interval(0.95))[0])
    return Mean(of_group.estimate, wide.se, wide.df)


def units_by_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Means over speakers: searches (or splits) by seeds."""
    level = "search" if table.columns.get_level_values("search").nunique() > 1 else "split"
    return table.mean().groupby(level=[level, "seed"]).mean().unstack()


def with_seed_variance(mean: Mean, units: pd.DataFrame) -> Mean:
    """The mean's variance and that of seeds, from the mean squares of units (rows) x seeds (columns)."""
    whole = units.dropna(axis=1)
    rows, columns = whole.shape
    if columns < 2:
        return mean
    of_seed = rows * whole.mean().var(ddof=1)
    rest = whole.sub(whole.mean(axis=1), axis=0) - whole.mean() + whole.to_numpy().mean()
    component = (of_seed - (rest**2).to_numpy().sum() / ((rows - 1) * (columns - 1))) / rows / columns
    if component <= 0:
        return mean
    variance = mean.se**2 + component
    df = variance**2 / (mean.se**4 / mean.df + component**2 / (columns - 1))
    return Mean(mean.estimate, variance**0.5, min(df, 2 * (columns - 1)))


def with_seeds(estimate: float, means: list[float], units: pd.DataFrame) -> Mean:
    """t over the units' means, or units (rows) x seeds (columns) crossed, whichever is wider."""
    by_unit = Mean(estimate, float(stats.sem(means)), len(means) - 1)
    whole = units.dropna(axis=1)
    if whole.shape[1] < 2:
        return by_unit
    wide = max((by_unit, crossed(whole)), key=lambda mean: np.diff(mean.interval(0.95))[0])
    return Mean(estimate, wide.se, wide.df)


def by_group(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of each search, or of each split where there is one search."""
    level = "search" if table.columns.get_level_values("search").nunique() > 1 else "split"
    return table.T.groupby(level=level).mean().T


def arm_table(scores: pd.DataFrame, arm: str) -> pd.DataFrame:
    mine = scores[(scores["arm"] == arm) & (scores["look"] == 1)].dropna(subset="value")
    return mine.pivot_table(index="speaker", columns=["search", "split", "seed"], values="value")


def arm_mean(table: pd.DataFrame) -> float:
    """Speakers alike, within a speaker searches (or splits) alike; folds alike."""
    grouped = by_group(table.dropna(how="all").dropna(how="all", axis=1))
    return float(np.mean([grouped.loc[names].mean(axis=1).mean() for names in folds_of(grouped)]))


def mostly_alike(difference: pd.DataFrame, label: str) -> bool:
    """A difference of recipes of which fewer than half of the searches have one: the others' winners are of one recipe."""
    differ = difference.abs().max().groupby(level="search").max() > 0
    return label.startswith("recipe_") and bool(2 * differ.sum() < len(differ))


def recompute(scores: pd.DataFrame, printed: pd.DataFrame) -> pd.DataFrame:
    """The rows of `printed` that stand on these scores, with the numbers as they come out here."""
    known = dict(scores.groupby("arm")["score"].first())
    rows = {}
    for index, row in printed.iterrows():
        own = row["label"].split(" ")[0] not in ("secondary", "look") and " = " not in row["label"]
        if not own or known.get(row["first"]) != row["score"] or known.get(row["second"]) != row["score"]:
            continue
        first, second = (arm_table(scores, row[arm]) for arm in ("first", "second"))
        difference = (first - second).dropna(how="all").dropna(how="all", axis=1)
        if difference.empty or difference.max().max() - difference.min().min() < 1e-12:  # no pair, or no variation to judge by
            continue
        mean = analysed(difference)
        if row["seeds"] < 3 or len(difference) < 2 or (np.isnan(row["low"]) and mostly_alike(difference, row["label"])):
            mean = Mean(mean.estimate, np.nan, np.nan)
        means = [arm_mean(arm.where(difference.notna())) for arm in (first, second)]
        low, high, low90, high90 = np.clip([*mean.interval(0.95), *mean.interval(0.90)], -1, 1)  # no difference lies beyond
        p = float(2 * stats.t.sf(abs(mean.estimate) / mean.se, mean.df))
        detectable = float((stats.t.ppf(0.975, mean.df) + stats.t.ppf(0.8, mean.df)) * mean.se)
        rows[index] = {
            **dict(zip(NUMBERS, (mean.estimate, low, high, low90, high90, p, p, *means), strict=False)),
            **{"relative_gain": mean.estimate / means[1] if means[1] else np.nan, "minimum_detectable": detectable},
        }
    again = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=list(NUMBERS))
    primary = again.index[printed.loc[again.index, "label"] == "primary"]
    nothing = [1.0] * int((printed["label"] == "primary").sum() - again.loc[primary, "p"].notna().sum())  # found by these
    known = again.index[again["p"].notna() & again.index.isin(primary)]
    again.loc[known, "p_holm"] = multipletests([*again.loc[known, "p"], *nothing], method="holm")[1][: len(known)]
    return again


def words(row: pd.Series) -> tuple[str, str]:
    """Difference and interval in points, as the report prints them: minus signs are real ones, an end beside 0 has more digits."""

    def signed(value: float, digits: int = 1) -> str:
        text = f"{100 * value:+.{digits}f}"
        return text[1:] if float(text) == 0 else text.replace("-", "−")

    ends = (row["low"], row["high"])
    digits = next((n for n in (1, 2, 3) if not any(end and float(signed(end, n).replace("−", "-")) == 0 for end in ends)), 4)
    return signed(row["estimate"]), "–" if np.isnan(row["low"]) else f"[{', '.join(signed(end, digits) for end in ends)}]"


def check(report: Path) -> tuple[list[str], list[str], int]:
    """(lines to read, what differs, contrasts left out)."""
    printed = pd.read_csv(report / "data" / "contrasts.csv")
    again = recompute(pd.read_parquet(report / "data" / "scores.parquet"), printed)
    page = (report / "report.md").read_text(encoding="utf-8").replace("\\", "")
    lines, differ = [], []
    for index, row in again.iterrows():
        name = f"{printed.loc[index, 'question']}: {printed.loc[index, 'label']}"
        estimate, interval = words(row)
        lines.append(f"{name:<60} {estimate:>6} {interval:<16} p = {row['p']:.4f}")
        differ += [
            f"{name}: {number} is printed as {printed.loc[index, number]!r}, and comes out as {row[number]!r}"
            for number in NUMBERS
            if not np.isclose(printed.loc[index, number], row[number], rtol=1e-6, atol=1e-9, equal_nan=True)
        ]
        as_printed = words(printed.loc[index])  # 3.25 may come out as 3.2499999
        if not any(all(map(line.__contains__, said)) for said in ((estimate, interval), as_printed) for line in page.splitlines()):
            differ.append(f"{name}: {estimate} {interval} is not in report.md")
    return lines, differ, len(printed) - len(again)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recomputed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path, help="a report's folder, e.g. runs/NAME/report or docs/ravdess")
    options = parser.parse_args()
    lines, differ, left = check(options.report)
    print("\n".join([*lines, f"{len(lines)} contrasts recomputed, {left} left out", *differ]))
    return 1 if differ or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
