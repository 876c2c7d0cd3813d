"""python -m sermtl COMMAND ...

prepare   source files -> one corpus file
inspect   what a corpus file holds, and the split it would use
train     one configuration, alone
predict   a trained model and audio files -> emotions with probabilities
"""

import importlib
import sys
from collections.abc import Callable

from sermtl.errors import ConfigError, did_you_mean, run_command

COMMANDS = {"prepare": "sermtl.prepare", "inspect": "sermtl.inspect", "train": "sermtl.alone", "predict": "sermtl.predict"}


def main(argv: list[str]) -> int:
    """Run a command by name; each one's module is imported only when it is asked for. Raises UserError."""
    if not argv or argv[0] in {"-h", "--help"}:
        print((__doc__ or "").strip() + "\n\nEach command explains itself with --help.")
        return 0
    if argv[0] not in COMMANDS:
        raise ConfigError(f"{argv[0]!r} is not a command{did_you_mean(argv[0], list(COMMANDS))}")
    if argv[0] == "prepare" and not {"-h", "--help"} & set(argv):
        from sermtl.workers import start_early  # not above, where Ctrl-C still shows a traceback

        start_early()  # its workers' imports then take no longer than its own
    command: Callable[[list[str]], int] = importlib.import_module(COMMANDS[argv[0]]).main
    return command(argv[1:])


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
