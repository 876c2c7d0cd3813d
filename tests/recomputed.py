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
    """Speakers (rows) x runs (columns), full, both random: mean squares from a two-way analysis of variance without replication."""
    speakers, runs = table.shape
    long = pd.DataFrame(
        {"d": table.to_numpy().ravel(), "speaker": np.repeat(range(speakers), runs), "run": np.tile(range(runs), speakers)}
    )
    found = anova_lm(ols("d ~ C(speaker) + C(run)", long).fit())
    square = found["sum_sq"] / found["df"]
    terms, cells, over = [], speakers * runs, float(square["Residual"])
    # The mean's variance is (MS_speaker + MS_run - MS_residual) / cells; a factor that varies less than the residual is dropped.
    left = 1.0
    for factor, levels in (("C(speaker)", speakers), ("C(run)", runs)):
        if square[factor] > over:
            terms.append((float(square[factor]) / cells, levels - 1))
            left -= 1
    terms.append((left * over / cells, (speakers - 1) * (runs - 1)))
    variance = sum(term for term, _ in terms)
    df = variance**2 / sum(term**2 / free for term, free in terms)
    return Mean(float(table.to_numpy().mean()), variance**0.5, min(df, 2 * min(speakers - 1, runs - 1)))


def analysed(table: pd.DataFrame) -> Mean:
    """Differences by speaker (rows) and (search, split, seed) (columns), NaN where a speaker is not in a split's test part."""
    searches = table.columns.get_level_values("search").nunique()
    splits = table.columns.get_level_values("split").nunique()
    level = "search" if searches > 1 else "split"
    if searches == splits == 1:
        return crossed(table)
    grouped = table.T.groupby(level=level).mean().T
    if grouped.isna().any().any():  # folds: each speaker in one of them
        folds = grouped.mean()
        return Mean(float(folds.mean()), float(folds.sem()), len(folds) - 1)
    outer, inner = crossed(grouped), crossed(table)
    wide = max((outer, inner), key=lambda mean: np.diff(mean.interval(0.95))[0])
    return Mean(outer.estimate, wide.se, wide.df)


def arm_table(scores: pd.DataFrame, arm: str) -> pd.DataFrame:
    mine = scores[(scores["arm"] == arm) & (scores["look"] == 1)].dropna(subset="value")
    return mine.pivot_table(index="speaker", columns=["search", "split", "seed"], values="value")


def arm_mean(table: pd.DataFrame) -> float:
    """Speakers alike, within a speaker searches (or splits) alike; folds alike."""
    level = "search" if table.columns.get_level_values("search").nunique() > 1 else "split"
    grouped = table.T.groupby(level=level).mean().T
    return float(grouped.mean().mean() if grouped.isna().any().any() else grouped.mean(axis=1).mean())


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
        if difference.abs().max().max() == 0:  # the same settings in both arms: nothing to judge by
            continue
        mean = analysed(difference)
        means = [arm_mean(arm.where(difference.notna())) for arm in (first, second)]
        (low, high), (low90, high90) = mean.interval(0.95), mean.interval(0.90)
        p = float(2 * stats.t.sf(abs(mean.estimate) / mean.se, mean.df))
        detectable = float((stats.t.ppf(0.975, mean.df) + stats.t.ppf(0.8, mean.df)) * mean.se)
        rows[index] = {
            **dict(zip(NUMBERS, (mean.estimate, low, high, low90, high90, p, p, *means), strict=False)),
            **{"relative_gain": mean.estimate / means[1], "minimum_detectable": detectable},
        }
    again = pd.DataFrame.from_dict(rows, orient="index")
    primary = again.index[printed.loc[again.index, "label"] == "primary"]
    again.loc[primary, "p_holm"] = multipletests(again.loc[primary, "p"], method="holm")[1]
    return again


def words(row: pd.Series) -> tuple[str, str]:
    """Difference and interval in points, as the report prints them: minus signs are real ones."""

    def signed(value: float) -> str:
        text = f"{100 * value:+.1f}"
        return "0.0" if float(text) == 0 else text.replace("-", "−")

    return signed(row["estimate"]), f"[{signed(row['low'])}, {signed(row['high'])}]"


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
            if not np.isclose(printed.loc[index, number], row[number], rtol=1e-6, atol=1e-9)
        ]
        if not any(estimate in line and interval in line for line in page.splitlines()):
            differ.append(f"{name}: {estimate} {interval} is not in report.md")
    return lines, differ, len(printed) - len(again)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recomputed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path, help="a report's folder, e.g. runs/NAME/report or docs/ravdess")
    lines, differ, left = check(parser.parse_args().report)
    print("\n".join([*lines, f"{len(lines)} contrasts recomputed, {left} left out", *differ]))
    return 1 if differ or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
