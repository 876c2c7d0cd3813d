"""The error family: what a user can get wrong, and what a run can die of.

    SermtlError                 anything this project raises on purpose
    ├── UserError               a user's mistake: one line, exit code 2, no traceback
    │   ├── ConfigError         a knob's name, type or bound
    │   ├── SpaceError          a search space file: key, type, bound or task
    │   ├── CorpusError         a corpus file or source folder
    │   │   ├── PreparingStoppedError  preparing cannot go on just now, through no fault of a recording
    │   │   ├── FetchError      a corpus that cannot be fetched to this machine just now
    │   │   └── SplitError      a split that cannot be made, or would leak
    │   ├── CheckpointError     a checkpoint or model file that cannot be used
    │   └── StudyError          a study folder, store or command that does not fit
    ├── SealedError             test clips asked for outside the confirm phase (a bug in the caller)
    └── DivergedError           a run's loss is no longer finite; the trial is FAILED with this reason

A message states what is wrong, the value, and the remedy.
"""

import argparse
import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

PLACES = {  # what may be wrong with a place on a disk, which no program can help
    errno.EINVAL,  # files.existing_file: not a file
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC),
}
INTERRUPTED = 130  # exit code of a command stopped by a signal
LONGEST_LINE = 1_500  # characters of a message; what is cut out of a longer one is its middle


class SermtlError(Exception):
    """Anything this project raises on purpose."""


class UserError(SermtlError):
    """A user's mistake: shown as one line on stderr, exit code 2."""


class ConfigError(UserError):
    """A knob's name, type or bound is wrong."""


class SpaceError(UserError):
    """A search space file names a wrong key, type, bound or task."""


class CorpusError(UserError):
    """A corpus file or source folder cannot be used as it is."""


class FetchError(CorpusError):
    """A corpus cannot be fetched to this machine just now: the network, its credentials, or the cache's disk."""


class PreparingStoppedError(CorpusError):
    """Preparing cannot go on just now, through no fault of a recording; what was decoded is kept."""


class SplitError(CorpusError):
    """A split cannot be made, or would leak a speaker or sentence."""


class CheckpointError(UserError):
    """A checkpoint or model file cannot be used."""


class StudyError(UserError):
    """A study folder, a store or a command line does not fit."""


class SealedError(SermtlError):
    """Test clips were asked for outside the confirm phase."""


class DivergedError(SermtlError):
    """A run's loss is no longer a finite number."""


class Parser(argparse.ArgumentParser):
    """A command line whose mistakes are a user's: one line, like all others, without the usage in front."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; an empty argument is a mistake, since an empty path would be this folder, and `--runs=--` is one."""
        given = sys.argv[1:] if args is None else list(args)
        for before, argument in zip([self.prog, *given], given, strict=False):
            if not argument or re.fullmatch(r"--[\w-]+=", argument):
                self.error(f"empty: what follows {argument.strip('=') or before!r}, perhaps a variable that is not set")
            if re.fullmatch(r"(--[\w-]+=|-\w)--", argument):  # argparse makes an empty list of that
                self.error(f"{argument}: '--' is no value; a file or folder of that name is ./--")
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` explains")


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command's `main`: 0 when done, 2 with one line on stderr for a user's mistake, a run that diverged, a bad path or
    a machine without memory.

    130 with one line for Ctrl-C. Any other exception keeps its traceback.
    """
    for name in ("stdout", "stderr"):  # closed by who started us: then nobody is told anything
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as the process lives)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may hold bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main() or 0
        sys.stdout.flush()
        return code
    except (UserError, DivergedError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output, such as `head`, has seen enough
        with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        why = f" ({one_line(str(error))})" if str(error) else ""
        print(f"error: this machine has too little memory left{why}; free some, and run it again", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:
            return _full(error)
        if error.errno not in PLACES or error.filename is None:
            raise
        print(f"error: {one_line(f'{error.filename}: {error.strerror}; give another path, or make room')}", file=sys.stderr)
        return 2


def _full(error: OSError) -> int:
    """No room where standard output goes, or on another disk: Python must not try once more to write what is left of it."""
    try:
        sys.stdout.flush()  # what could not be written is still there, and cannot be written now
        where = "where this writes its files; make room there, and run it again"
    except OSError:
        where = "where the output goes; make room, or send it elsewhere"
    with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    print(f"error: {error.strerror} {where}", file=sys.stderr)
    return 2


def one_line(text: str) -> str:
    """A message on one line of bounded length, with everything a terminal would obey or not show written out."""
    words = " ".join(text.split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    half = LONGEST_LINE // 2
    return shown if len(shown) <= LONGEST_LINE else f"{shown[:half]} ... {shown[-half:]}"


def did_you_mean(word: str, known: list[str]) -> str:
    """A remedy for a misspelt name: `; did you mean 'x'?`, or the list of what is known, if anything is."""
    import difflib

    alike = {_folded(name): name for name in reversed(known)}  # of two that differ in case alone, the first
    near = difflib.get_close_matches(_folded(word[:80]), alike, n=1)
    if near or not known:
        return f"; did you mean {alike[near[0]]!r}?" if near else ""
    return f"; known: {', '.join(sorted(known))}"


def _folded(name: str) -> str:
    """A name without case and leading zeros: whoever asks for speaker 1 means 01."""
    return name.casefold().lstrip("0")
