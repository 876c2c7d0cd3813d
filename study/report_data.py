"""The data files beside a report: whatever a figure or a table shows, as CSV, or Parquet where it is long."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sermtl.files import whole_file, write_text
from study.answer import QuestionResult, Results
from study.contrast import Contrast
from study.drawing import Drawing, printable, slug
from study.figures_contrast import contrast_row
from study.figures_scores import confusion_table
from study.record import TrialRecord

LONGEST_CSV = 2_000  # rows; a longer table is a Parquet file


def data_name(name: str, rows: int) -> str:
    """The file a table of so many rows is written to below report/data."""
    return f"{name}.{'csv' if rows <= LONGEST_CSV else 'parquet'}"


def data_files(results: Results, drawings: list[Drawing]) -> dict[str, pa.Table]:
    """File name -> table: every figure's data, and the study's own tables."""
    tables = {data_name(drawing.name, drawing.data.num_rows): drawing.data for drawing in drawings}
    own = {
        "contrasts": all_contrasts(results),
        "confirm-runs": confirm_runs(results),
        "trials": search_trials(results),
        "spend": spend(results),
    }
    tables |= {data_name(name, table.num_rows): table for name, table in own.items() if table.num_rows}
    arms = [arm for question in results.questions for arm in question.arms]
    tables |= {f"{slug('confusion', arm.arm)}.csv": confusion_table(arm) for arm in arms if arm.classes}
    return tables | {"scores.parquet": speaker_scores(results)}


def write_data(folder: Path, results: Results, tables: dict[str, pa.Table]) -> None:
    """Write every table and `about.json`, what they are of. Each Parquet file carries the same under b"sermtl"."""
    folder.mkdir(parents=True, exist_ok=True)
    about = json.dumps(provenance(results), indent=1, sort_keys=True)
    write_text(folder / "about.json", about + "\n")
    for name, table in tables.items():
        with whole_file(folder / name) as temporary:
            if name.endswith(".parquet"):
                pq.write_table(table.replace_schema_metadata({b"sermtl": about.encode()}), temporary)
            else:
                pyarrow.csv.write_csv(table, temporary)


def provenance(results: Results) -> dict[str, Any]:
    """What every number of a report is of: corpus, split, seeds, code."""
    header = results.header
    return {
        "study": header.name,
        "corpus": header.corpus.name,
        "checksum": header.corpus.checksum,
        "synthetic": header.corpus.synthetic,
        "splits": [split.id for split in header.splits],
        "seeds": confirm_seeds(results),
        "versions": header.versions,
        "questions": [asdict(question) for question in header.questions],
        "units": "scores and differences are shares: 0.07 is 7 percentage points; times in seconds",
    }


def confirm_seeds(results: Results) -> list[int]:
    """The seeds of all confirm runs, ascending."""
    return sorted({seed for arm in results.arms.values() for _, seed in arm.columns})


def named_contrasts(question: QuestionResult) -> list[tuple[str, Contrast | None]]:
    """Every contrast of a question with a short name, the primary one first."""
    named: list[tuple[str, Contrast | None]] = [("primary", question.contrast)]
    named += [(f"look {look.number}", look.contrast) for look in question.looks if look.number > 1]
    named += [(f"secondary {score}", contrast) for score, contrast in question.secondary.items()]
    if square := question.square:
        names = ("task_in_mtl_recipe", "task_in_control_recipe", "recipe_without_task", "recipe_with_task")
        named += [(name, getattr(square, name)) for name in names]
    for arm, (against, above) in question.placebo.items():
        named += [(f"mtl - {arm}", against), (f"{arm} - control", above)]
    named += [(f"{arm} - mtl-recipe-alone", head) for arm, head in question.any_head.items()]
    for label, rows in question.breakdowns.items():
        named += [(f"{label} = {row.value}", row.contrast) for row in rows]
    return named


def all_contrasts(results: Results) -> pa.Table:
    rows = [
        {"question": question.header.name, **contrast_row(label, contrast)}
        for question in results.questions
        for label, contrast in named_contrasts(question)
        if contrast
    ]
    return pa.Table.from_pylist(rows)


def speaker_scores(results: Results) -> pa.Table:
    """The scores that the contrasts are computed from: one row per arm, search, speaker and run."""
    parts = []
    for arm in results.arms.values():
        search, speaker, run = (index.ravel() for index in np.indices(arm.scores.shape))
        columns = {
            "arm": pa.array([arm.arm] * len(search), pa.string()),
            "score": pa.array([arm.score] * len(search), pa.string()),
            "search": pa.array(search, pa.int64()),
            "speaker": pa.array([printable(arm.speakers[i]) for i in speaker], pa.string()),
            "split": pa.array([arm.columns[i][0] for i in run], pa.string()),
            "seed": pa.array([arm.columns[i][1] for i in run], pa.int64()),
            "look": pa.array([arm.looks[i] for i in run], pa.int64()),
            "value": pa.array(arm.scores.ravel(), pa.float64()),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts) if parts else pa.table({"arm": pa.array([], pa.string())})


def search_trials(results: Results) -> pa.Table:
    """One row per search trial, its parameters in columns `param_NAME`."""
    records = [record for record in results.records if record.identity.phase == "search"]
    names = sorted({name for record in records for name in record.params})
    params = {f"param_{name}": _column([record.params.get(name) for record in records]) for name in names}
    again = pa.array([record.rerun_of for record in records], pa.int64())
    return pa.table({**_record_columns(records), "rerun_of": again, **params})


def confirm_runs(results: Results) -> pa.Table:
    """One row per confirm run, its test scores in columns."""
    records = [record for record in results.records if record.identity.phase == "confirm"]
    names = sorted({name for record in records for name in record.test_scores})
    scores = {f"test_{name}": pa.array([record.test_scores.get(name) for record in records], pa.float64()) for name in names}
    return pa.table({**_record_columns(records), **scores})


def _record_columns(records: list[TrialRecord]) -> dict[str, pa.Array]:
    return {
        "arm": pa.array([r.identity.arm for r in records], pa.string()),
        "search": pa.array([r.identity.search for r in records], pa.int64()),
        "number": pa.array([r.identity.number for r in records], pa.int64()),
        "split": pa.array([r.identity.split for r in records], pa.string()),
        "seed": pa.array([r.identity.seed for r in records], pa.int64()),
        "look": pa.array([r.look for r in records], pa.int64()),
        "state": pa.array([r.state for r in records], pa.string()),
        "reason": pa.array([r.reason and printable(r.reason) for r in records], pa.string()),
        "value": pa.array([r.value for r in records], pa.float64()),
        "exempt": pa.array([r.exempt for r in records], pa.bool_()),
        "epochs": pa.array([len(r.epochs) for r in records], pa.int64()),
        "device_s": pa.array([r.device_s for r in records], pa.float64()),
        "started": pa.array([r.started for r in records], pa.string()),
        "ended": pa.array([r.ended for r in records], pa.string()),
    }


def _column(values: list[Any]) -> pa.Array:
    """Numbers as numbers where all are, else texts."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else printable(str(value)) for value in values], pa.string())


def spend(results: Results) -> pa.Table:
    return pa.Table.from_pylist([{"arm": arm.arm, **asdict(arm.spend)} for q in results.questions for arm in q.arms])
