"""A confirm run's clips and pairs: Parquet files whose every page has a checksum, since a changed byte would be another score."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sermtl.files import existing_file, whole_file


def write_predictions(path: Path, table: pa.Table) -> None:
    """Write a table whole. Raises OSError."""
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_predictions(path: Path) -> pa.Table:
    """Raises OSError or pa.ArrowException where the file is missing, damaged or changed; an older version's has no checksums."""
    return pq.read_table(existing_file(path), partitioning=None, page_checksum_verification=True)
