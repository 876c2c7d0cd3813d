"""`make bench`: every benchmark beside its peer in one run, as a table in docs/performance.md and JSON beside it.

    python -m tests.benchmarks [--peers ../shared/peers] [--out docs] [--only training]

A peer that is not there is said to be missing; its ratio is then empty, never guessed. A row that this machine cannot measure
(bf16 on a CPU without such units) stays as it was measured elsewhere: every row names its day, processor and code.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sermtl.device import cpu_bf16_units
from sermtl.files import write_text
from study.declare import code_version, versions

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Row:
    """One benchmark: its script, the script's options, and how its JSON becomes (ours, peer, ratio) in words."""

    name: str
    script: str
    options: tuple[str, ...]
    peer: str | None
    floor: str
    words: Callable[[dict[str, Any]], tuple[str, str, str]]
    bf16: str = ""  # only where the CPU has such bf16 units: 'matrix' or 'vector'


def training_words(found: dict[str, Any]) -> tuple[str, str, str]:
    peers = ", ".join(f"{name.removesuffix('_clips_per_s')} {value:.1f}" for name, value in found["peers"].items())
    ratios = ", ".join(f"{name} {value:.2f}×" for name, value in found["ratios"].items())
    return f"{found['ours']['clips_per_s']:.1f} clips/s", peers or "missing", ratios


def overhead_words(found: dict[str, Any]) -> tuple[str, str, str]:
    theirs = found.get("peer")
    stock = f"{theirs['overhead_s_per_trial']:.2f} s" if theirs else "missing"
    return f"{found['ours']['after_first_s']:.3f} s a trial", stock, f"{found['ratio']:.1f}×" if theirs else ""


def front_end_words(found: dict[str, Any]) -> tuple[str, str, str]:
    ours, scipys = found["ours_clips_per_s"], found["scipy_clips_per_s"]
    return f"{ours:.0f} clips/s, off by {found['difference']:.0e}", f"SciPy {scipys:.0f} clips/s", f"{found['ratio']:.2f}×"


def busy_words(found: dict[str, Any]) -> tuple[str, str, str]:
    return f"{found['ours']['wall_s']:.1f} s", f"ideal {found['ours']['ideal_s']:.1f} s", f"{100 * found['ratio']:.1f} %"


def scale_words(found: dict[str, Any]) -> tuple[str, str, str]:
    mine, (few_s, many_s) = found["ours"], found["ours"]["trial_s"].values()
    grown = f"{mine['mb_per_1000_trials']:.1f} MB per 1,000 trials"
    words = f"report {mine['report_s']:.1f} s, continue {mine['continue_s']:.1f} s, {grown}"
    draws = " → ".join(f"{1000 * draw_s:.0f} ms" for draw_s in mine["draw_s"].values())
    return words, f"{1000 * few_s:.1f} → {1000 * many_s:.1f} ms a trial; sampler apart {draws}", f"{mine['growth']:.1f}×"


def memory_words(found: dict[str, Any]) -> tuple[str, str, str]:
    growth = found["growth"]
    grown = f"{growth['growth_bytes_a_trial'] / 1e3:.1f} kB a trial over {growth['trials']}"
    return f"{found['copies']['copies']:.2f} copies of the corpus; a worker grows {grown}", "", ""


def packing_words(found: dict[str, Any]) -> tuple[str, str, str]:
    if not found["measured"]:
        return found["why"], "", ""
    rates = ", ".join(f"{count}: {row['trials_per_h']:.0f}" for count, row in found["k"].items())
    return f"trials an hour by trials on a GPU: {rates}", "", f"auto: {found['chosen']}"


def prepare_words(found: dict[str, Any]) -> tuple[str, str, str]:
    kinds = found["kinds"]
    ours = ", ".join(f"{kind} {row['ours_clips_per_s']:.0f} clips/s" for kind, row in kinds.items())
    peers = ", ".join(sorted({row["peer"] for row in kinds.values()}))
    return ours, f"librosa: {peers}", ", ".join(f"{row['ratio']:.1f}×" for row in kinds.values() if row["ratio"])


def small_words(found: dict[str, Any]) -> tuple[str, str, str]:
    parts = ", ".join(f"{part} {100 * share:.0f} %" for part, share in found["parts"].items())
    return parts, "its own profile", f"{100 * found['share']:.0f} % of a run"


def _training(batch: int, steps: int) -> tuple[Row, ...]:
    """With bf16 matrix units, with vector units, and without: a CPU that has either measures the last as if it had not."""
    options = ("--batch", str(batch), "--steps", str(steps))
    name, peer = f"training, batch {batch}", "plain_training.py"
    return (
        Row(name, "training", options, peer, "4.5 / 3.3 / 1.3", training_words, bf16="matrix"),
        Row(f"{name}, bf16 vector units", "training", options, peer, "1.5 / 1.1", training_words, bf16="vector"),
        Row(f"{name}, no bf16 units", "training", (*options, "--without-bf16"), peer, "1.5 / 1.1", training_words),
    )


ROWS = (
    Row("front end, one core", "front_end", (), None, "2×, within 1e-4", front_end_words),
    *_training(16, 6),
    Row("small model: not its training", "small_model", (), None, "at most 25 %", small_words),
    Row("platform overhead", "overhead", (), "stock_study.py", "0.10 s, 7×", overhead_words),
    Row("busy slots, 40 trials × 5 s", "busy_slots", (), None, "95 %", busy_words),
    Row("scale, 10,000 trials", "scale", (), None, "20 s, 15 s, 20 MB, 3×", scale_words),
    Row("memory, 4 workers", "memory", (), None, "1 copy, no growth", memory_words),
    Row("packing a GPU", "packing", (), None, "its own curve", packing_words),
    Row("preparing a corpus", "prepare", ("--clips", "3000"), None, "5×", prepare_words),
    *_training(64, 3),
)


def names() -> list[str]:
    return [row.name for row in ROWS]


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


def page(results: dict[str, dict[str, Any]]) -> str:
    """docs/performance.md."""
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Performance",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores: {packages}.",
        "Ratios are taken side by side in one run; more than 1 is in our favour. The JSON beside this page has every figure.",
        "",
        "`load` is the machine's when the row began: on an idle one it is near 0 (1 where another row has just ended).",
        "",
        "| what | ours | peers | ratio | floor | measured | load |",
        "| --- | --- | --- | --- | --- | --- | ---: |",
    ]
    for row in (row for row in ROWS if row.name in results):
        found = results[row.name]
        measured = f"{found['when']}, {found['processor']}, code {found['code']}"
        words = (row.name, *row.words(found), row.floor, measured, f"{found['load']:.1f}")
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


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
    options = parser.parse_args(argv)
    file = options.out / "performance.json"
    standing = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    results = {name: found for name, found in standing.items() if name in names()}
    for row in ROWS:
        if options.only is not None and not row.script.startswith(options.only):
            continue
        if row.bf16 not in ("", cpu_bf16_units()):
            print(f"{row.name}: not measured, this CPU has no bf16 {row.bf16} units", flush=True)
            continue
        print(f"measuring {row.name} ...", flush=True)
        about = {"when": f"{datetime.now(UTC):%Y-%m-%d}", "load": round(os.getloadavg()[0], 1), "processor": _processor()}
        results[row.name] = measure(row, options.peers, options.librosa) | about | {"code": code_version()}
        # after every row: the last ones take minutes, and what was measured should not wait for them
        write_text(file, json.dumps(results, indent=1) + "\n")
        write_text(options.out / "performance.md", page(results))
    print(page(results))


if __name__ == "__main__":
    main()
