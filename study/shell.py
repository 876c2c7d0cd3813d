"""Commands that a study says, as a shell takes them: a folder's name may hold a space, a quote or a semicolon."""

import shlex
from pathlib import Path


def quoted(*words: str | Path) -> str:
    """Words of a command; one that a shell takes as it is stays as it is."""
    return shlex.join(map(str, words))


def mending(folder: str | Path) -> str:
    """The command that mends a study."""
    return f"`{quoted('python', '-m', 'study.doctor', folder, '--fix')}`"
