"""A confirm run's clips and pairs: Parquet files whose every page has a checksum, since a changed byte would be another score."""

import base64
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sermtl.files import existing_file, whole_file
from study.strangers import run_of

ARROW_SCHEMA = b"ARROW:schema"  # where Arrow notes a table's own names and types, beside Parquet's
MARKS = {"clips": "clip", "pairs": "clip_a"}  # a column that only this kind has


def write_predictions(path: Path, table: pa.Table) -> None:
    """Write a table whole. Raises OSError."""
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_predictions(path: Path) -> pa.Table:
    """Raises OSError or pa.ArrowException where the file is missing, damaged or changed, or holds another run's or kind's.

    Of an older version's file a changed byte is not seen: it has no checksums.
    """
    try:
        with pq.ParquetFile(existing_file(path), page_checksum_verification=True) as file:
            table, noted = file.read(), (file.metadata.metadata or {}).get(ARROW_SCHEMA)
        own = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(noted))) if noted else table.schema
        # names and types have no checksum, but lie there twice: a changed name would be a run without that score
        if (table.schema.names, table.schema.types) != (own.names, own.types):
            raise OSError("names its columns in two ways")
    except UnicodeDecodeError:
        raise OSError("names its columns in what is no text") from None
    run = run_of(table)
    if run is not None and run.folder != "/".join(path.parts[-4:-1]):
        raise OSError(f"holds the predictions of {run.label}")
    if MARKS.get(path.stem, "clip") not in table.column_names:
        raise OSError(f"holds no {path.stem}")
    return table
