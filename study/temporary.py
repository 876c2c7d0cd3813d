"""Where temporary files go: without a place for them neither Ray starts nor Matplotlib is imported, and neither says so clearly."""

import logging
import os
import shutil
import tempfile

from sermtl.errors import StudyError

RAY_BYTES = 8 * 2**20  # Ray's sockets and logs of a small study are a tenth of that; with none it waits for a minute
REMEDY = "set TMPDIR to a folder with room"


def check_temporary(wanted_bytes: int = RAY_BYTES) -> None:
    """Raise StudyError where no temporary file can be written, or not so many bytes of them."""
    try:
        folder = tempfile.gettempdir()
        free_bytes, files = shutil.disk_usage(folder).free, os.statvfs(folder)
    except OSError as error:  # Python's, where it has tried them all
        raise StudyError(f"temporary files: {error.strerror}; {REMEDY}") from None
    if free_bytes < wanted_bytes:
        raise StudyError(f"temporary files: {folder} has {free_bytes / 1e6:.1f} MB left; make room there, or {REMEDY}")
    if files.f_files and not files.f_favail:
        raise StudyError(f"temporary files: {folder} has no room for another file; make room there, or {REMEDY}")


def check_drawing() -> None:
    """Raise StudyError where Matplotlib finds no place for its own files: neither in the home folder nor among temporary ones."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it says that it took the second place, or that there is none
    try:
        import matplotlib  # noqa: F401  # asked for its failure alone
    except OSError:
        raise StudyError(f"neither the home folder nor one for temporary files can be written; {REMEDY}") from None
