"""The error family: what a user can get wrong, and what a run can die of.

    SermtlError                 anything this project raises on purpose
    ├── UserError               a user's mistake: one line, exit code 2, no traceback
    │   ├── ConfigError         a knob's name, type or bound
    │   ├── SpaceError          a search space file: key, type, bound or task
    │   ├── CorpusError         a corpus file or source folder
    │   │   └── SplitError      a split that cannot be made, or would leak
    │   ├── CheckpointError     a checkpoint or model file that cannot be used
    │   └── StudyError          a study folder, store or command that does not fit
    ├── SealedError             test clips asked for outside the confirm phase (a bug in the caller)
    └── DivergedError           a run's loss is no longer finite; the trial is FAILED with this reason

A message states what is wrong, the value, and the remedy.
"""

import sys
from collections.abc import Callable


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


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command's `main`: 0 when done, 2 with one line on stderr for a user's mistake.

    Any other exception keeps its traceback.
    """
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def did_you_mean(word: str, known: list[str]) -> str:
    """A remedy for a misspelt name: `; did you mean 'x'?`, or the list of what is known."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
