"""`make bench`: every benchmark beside its peer in one run, as a table in docs/performance.md and JSON beside it.

    python -m tests.benchmarks [--peers ../shared/peers] [--out docs] [--only training] [--repeats 3]

Every script runs `--repeats` times. The table tells the run whose first figure is the median, and the least and greatest of
each figure. A peer that is not there is said to be missing; its ratio is then empty, never guessed. A row that this machine
cannot measure (bf16 on a CPU without such units) stays as it was measured elsewhere: every row names its day, processor and code.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from sermtl.device import cpu_bf16_units
from sermtl.files import write_text
from study.declare import code_version, versions
from tests.benchmarks.rows import ROWS, Row

ROOT = Path(__file__).parents[2]


def measure(row: Row, peers: Path, librosa: Path) -> dict[str, Any]:
    """Run one script; its JSON, whichever line of its output it begins on."""
    peer = ("--peer", str(peers / row.peer)) if row.peer and (peers / row.peer).exists() else ()
    python = ("--peer-python", str(librosa)) if row.script == "prepare" and librosa.exists() else ()
    command = [sys.executable, "-m", f"tests.benchmarks.{row.script}", *row.options, *peer, *python]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{row.name}: {' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def repeated(row: Row, repeats: int, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The run whose first figure is the median, the lower one of two, with 'spread': each figure's least and greatest."""
    if row.repeats_itself:
        return run()
    runs = [run() for _ in range(repeats)]
    figures = [list(row.figures(found).values()) for found in runs]
    middle = sorted(range(repeats), key=lambda number: figures[number][:1])[(repeats - 1) // 2]
    spread = {name: [min(values), max(values)] for name, *values in zip(row.figures(runs[0]), *figures, strict=True)}
    return runs[middle] | {"repeats": repeats, "spread": spread}


def page(results: dict[str, dict[str, Any]]) -> str:
    """docs/performance.md."""
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    memory_gib = psutil.virtual_memory().total / 2**30
    lines = [
        "# Performance",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory_gib:.0f} GiB: {packages}.",
        "Ratios of speed are taken side by side in one run; more than 1 is in our favour. `floor` is what was asked for: at least",
        "that of a ratio or of the slots' ideal, at most that of a share, of seconds, memory and growth. The JSON beside this",
        "page has every figure.",
        "A row is the run whose first figure is the median; `spread` has the least and the greatest of each figure over all runs.",
        "",
        "`load` is the machine's when the row began: on an idle one it is near 0 (1 where another row has just ended).",
        "",
        "| what | ours | peers | ratio | spread | floor | measured | load |",
        "| --- | --- | --- | --- | --- | --- | --- | ---: |",
    ]
    for row in (row for row in ROWS if row.name in results):
        found = results[row.name]
        measured = f"{found['when']}, {found['processor']}, code {found['code']}"
        words = (row.name, *row.words(found), spread_words(found), row.floor, measured, f"{found['load']:.1f}")
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def spread_words(found: dict[str, Any]) -> str:
    """Each figure's least and greatest."""
    if found.get("repeats", 1) == 1:
        return "one run"
    ends = {name: [_short(value) for value in pair] for name, pair in found["spread"].items()}
    told = ", ".join(f"{name} {low}" if low == high else f"{name} {low}–{high}" for name, (low, high) in ends.items())
    return f"{found['repeats']} runs: {told}" if told else ""


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=Path, default=ROOT.parent / "shared" / "peers", help="folder of the peers' scripts")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="where performance.md and performance.json go")
    parser.add_argument("--only", help="scripts whose name begins so; the other rows of performance.json stay")
    parser.add_argument("--librosa", type=Path, default=ROOT / ".venv-librosa" / "bin" / "python", help="a Python with librosa")
    parser.add_argument("--repeats", type=int, default=3, help="runs of every script [%(default)s]")
    options = parser.parse_args(argv)
    file = options.out / "performance.json"
    standing = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    results = {name: found for name, found in standing.items() if name in {row.name for row in ROWS}}
    for row in ROWS:
        if options.only is not None and not row.script.startswith(options.only):
            continue
        if row.bf16 not in ("", cpu_bf16_units()):
            print(f"{row.name}: not measured, this CPU has no bf16 {row.bf16} units", flush=True)
            continue
        print(f"measuring {row.name} ...", flush=True)
        about = {"when": f"{datetime.now(UTC):%Y-%m-%d}", "load": round(os.getloadavg()[0], 1), "processor": _processor()}
        found = repeated(row, options.repeats, lambda row=row: measure(row, options.peers, options.librosa))  # type: ignore[misc]
        results[row.name] = found | about | {"code": code_version()}
        # after every row: the last ones take minutes, and what was measured should not wait for them
        write_text(file, json.dumps(results, indent=1) + "\n")
        write_text(options.out / "performance.md", page(results))
    print(page(results))


if __name__ == "__main__":
    main()
