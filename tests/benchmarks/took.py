"""What a command takes, with every process that it starts: also those that end after it, as the server of its workers does.

    python -m tests.benchmarks.took OUTPUT COMMAND ...

Runs the command, what it prints going to the file OUTPUT, waits for all that it has left, and prints JSON: exit_code,
elapsed_s (of the command itself), cpu_s (of all), memory_bytes (the peak of the largest process). Linux.
"""

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main(output: Path, command: list[str]) -> None:
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise SystemExit("this kernel does not tell what a command's workers took")
    start = time.perf_counter()
    with output.open("w", encoding="utf-8") as file:
        child = subprocess.Popen(command, stdout=file, stderr=file)
        _, status, usage = os.wait4(child.pid, 0)
    elapsed_s, usages = time.perf_counter() - start, [usage]
    child.returncode = os.waitstatus_to_exitcode(status)
    while True:
        try:
            usages.append(os.wait4(-1, 0)[2])
        except ChildProcessError:
            break
    took = {
        "exit_code": child.returncode,
        "elapsed_s": elapsed_s,
        "cpu_s": sum(usage.ru_utime + usage.ru_stime for usage in usages),
        "memory_bytes": max(usage.ru_maxrss for usage in usages) * 1024,
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
