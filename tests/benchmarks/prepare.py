"""Preparing a corpus, against librosa.load: the whole command on all cores, start-up and writing included.

For each kind of recording (16 kHz mono as CREMA-D publishes it; 48 kHz stereo as most corpora are recorded) a folder of
noise clips is written, then `python -m sermtl prepare manifest` and a plain librosa loop read it in turn, `--repeats`
times; medians are compared. `ratio` holds ours, start-up and all, against librosa's first pass; `ratio_to_warm_peer`
against its second one in the same process, and `cpu_ratio` the same in CPU seconds, which a busy machine and a second
core do not change. Memory is the largest resident set of any of the command's processes, for a quarter of the
clips and for all of them: if it is bounded, the two differ little.

    python -m tests.benchmarks.prepare [--clips 1500] [--repeats 3] [--peer-python PATH]

Prints one JSON object. `--peer-python` is a Python that has librosa, where this one has not (librosa is no dependency).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

KINDS = {"16 kHz mono": (16_000, 1), "48 kHz stereo": (48_000, 2)}
PEER = Path(__file__).with_name("librosa_loader.py")
TARGET = 5.0  # times as many clips per second as librosa


def write_source(folder: Path, clips: int, rate_hz: int, channels: int) -> None:
    """A manifest and `clips` WAV files of seeded noise, 2.5 s (sd 0.4 s) long."""
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((8 * rate_hz, channels)) * 3000).astype(np.int16)
    rows = ["path,speaker,emotion"]
    for number in range(clips):
        length, start = int(np.clip(rng.normal(2.5, 0.4), 1.2, 5) * rate_hz), int(rng.integers(3 * rate_hz))
        soundfile.write(folder / f"{number:05d}.wav", noise[start : start + length] + np.int16(number % 97), rate_hz)
        rows.append(f"{number:05d}.wav,s{number % 50},{'ABCDEF'[number % 6]}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    os.sync()  # else what is measured first, and flushes what it writes, waits for all of this too


@dataclass(frozen=True)
class Command:
    """What one `prepare` command took, workers included: seconds, CPU seconds, peak memory of its largest process."""

    elapsed_s: float
    cpu_s: float
    memory_bytes: int


def run_ours(manifest: Path, output: Path) -> Command:
    """Prepare a corpus in a process of its own, as a user would, and delete it."""
    command = [sys.executable, "-m", "sermtl", "prepare", "manifest", str(manifest), "-o", str(output)]
    said = output.with_suffix(".log")
    watched = [sys.executable, "-m", "tests.benchmarks.took", str(said), *command]
    took = json.loads(subprocess.run(watched, stdout=subprocess.PIPE, check=True, text=True).stdout)
    if took["exit_code"]:
        raise SystemExit(f"prepare ended with exit code {took['exit_code']}: {said.read_text(encoding='utf-8').strip()}")
    output.unlink()
    return Command(took["elapsed_s"], took["cpu_s"], took["memory_bytes"])


def run_peer(folder: Path, python: str) -> dict[str, Any] | None:
    """One librosa loop over the folder; None where that Python has no librosa."""
    if subprocess.run([python, "-c", "import librosa"], capture_output=True).returncode:
        return None
    return dict(json.loads(subprocess.run([python, str(PEER), str(folder)], capture_output=True, check=True, text=True).stdout))


def measure(kind: str, clips: int, repeats: int, peer_python: str) -> dict[str, Any]:
    """One kind of recording: clips per second of ours and of librosa, their ratio, spread and memory."""
    rate_hz, channels = KINDS[kind]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_source(folder, clips, rate_hz, channels)
        lines = (folder / "manifest.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / "quarter.csv").write_text("".join(lines[: 1 + clips // 4]), encoding="utf-8")
        ours, peer = [], []
        for _ in range(repeats):  # in turn, so that a busy moment hits both
            ours.append(run_ours(folder / "manifest.csv", folder / "all.arrow"))
            peer.append(run_peer(folder, peer_python))
        quarter = run_ours(folder / "quarter.csv", folder / "quarter.arrow")
    return compare(clips, ours, quarter, [result for result in peer if result])


def compare(clips: int, ours: list[Command], quarter: Command, peer: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of one kind of recording from its runs."""
    seconds = [command.elapsed_s for command in ours]
    cpu_s = statistics.median(command.cpu_s for command in ours)
    row: dict[str, Any] = {
        "clips": clips,
        "ours_clips_per_s": clips / statistics.median(seconds),
        "ours_s": {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)},
        "ours_cpu_s": cpu_s,
        "memory_mb": {
            "all clips": max(command.memory_bytes for command in ours) / 1e6,
            "a quarter of them": quarter.memory_bytes / 1e6,
        },
    }
    if not peer:
        return row | {"peer": "not installed", "ratio": None}
    times = ("first_s", "again_s", "again_cpu_s")
    first_s, again_s, again_cpu_s = (statistics.median(result[key] for result in peer) for key in times)
    ratios = [result["first_s"] / second_s for result, second_s in zip(peer, seconds, strict=True)]
    return row | {
        "ratio_spread": [min(ratios), max(ratios)],
        "peer": f"librosa {peer[0]['version']}",
        "peer_clips_per_s": clips / first_s,
        "peer_s": {"first pass": first_s, "second pass, warm": again_s},
        "peer_memory_mb": max(result["memory_bytes"] for result in peer) / 1e6,
        "ratio": first_s / statistics.median(seconds),
        "ratio_to_warm_peer": again_s / statistics.median(seconds),
        "cpu_ratio": again_cpu_s / cpu_s,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.prepare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with librosa")
    options = parser.parse_args(argv)
    kinds = {kind: measure(kind, options.clips, options.repeats, options.peer_python) for kind in KINDS}
    found = {"what": "preparing a corpus", "target_ratio": TARGET, "cores": os.cpu_count(), "kinds": kinds}
    spread = {kind: row["ratio_spread"] for kind, row in kinds.items() if row["ratio"]}
    print(json.dumps(found | {"repeats": options.repeats, "spread": spread}, indent=1))


if __name__ == "__main__":
    main()
