"""A confirm run's clips and pairs: Parquet files whose every page has a checksum, since a changed byte would be another score."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sermtl.files import existing_file, whole_file
from study.strangers import run_of

MARKS = {"clips": "clip", "pairs": "clip_a"}  # a column that only this kind has


def write_predictions(path: Path, table: pa.Table) -> None:
    """Write a table whole. Raises OSError."""
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_predictions(path: Path) -> pa.Table:
    """Raises OSError or pa.ArrowException where the file is missing, damaged or changed, or holds another run's or kind's.

    Of an older version's file a changed byte is not seen: it has no checksums.
    """
    table = pq.read_table(existing_file(path), partitioning=None, page_checksum_verification=True)
    run = run_of(table)
    if run is not None and run.folder != "/".join(path.parts[-4:-1]):
        raise OSError(f"holds the predictions of {run.label}")
    if MARKS.get(path.stem, "clip") not in table.column_names:
        raise OSError(f"holds no {path.stem}")
    return table
