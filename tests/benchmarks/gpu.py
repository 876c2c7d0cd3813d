"""Every GPU row in one command; writes docs/performance-gpu.md and the JSON beside it after each row.

Needs torch, NumPy, SciPy, pyarrow and pydantic only, so that it runs on a borrowed GPU:

    python -m tests.benchmarks.gpu [--device cuda] [--out docs] [--peer plain_training.py]

The peer is plain PyTorch as one writes it: spectrograms computed beforehand and held in memory, channels_last, cuDNN's
fastest kernels, with and without bf16 autocast. It trains the same network (the trunk of Table 1 with its fast ways off) and
reads its loss after every step, as training loops do; ours is measured as it trains, and once more reading its loss each step.
--peer measures that script's own ways beside it. A row that fails is named and the others go on; the rows of most worth come
first, and none begins after --limit seconds. `--tiny` is for trying the script where there is no GPU.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from sermtl import batches
from sermtl.config import RunConfig
from sermtl.corpus import Corpus
from sermtl.corpus_file import write_corpus
from sermtl.files import write_text
from sermtl.model import Block, VGGVox
from sermtl.splits import make_split
from sermtl.train import Run
from tests.benchmarks import plain_peer
from tests.benchmarks.training import EMOTIONS, SPEAKERS, noise_clips

ROOT = Path(__file__).parents[2]
PEERS = tuple(folder / "shared" / "peers" / "plain_training.py" for folder in (ROOT, ROOT.parent))
LIMIT_S = 420.0  # no row begins later: the last one and the machine's start leave it within ten minutes
RECIPE_S = 150.0  # a slower run is told by the epochs it came to
PACKED_S = 120.0  # to start, beside what is measured; a process that hangs is ended then
TRAINING_FLOP = 3 * 2 * 3.485e9  # a clip: forward, and twice that backward; Table 1 has 3.485e9 multiplications
FLOORS = {"bf16 peer": 1.5, "front end": 0.03, "recipe_s": 60.0}


@dataclass(frozen=True)
class Sizes:
    """How much to measure."""

    batches: tuple[int, ...] = (16, 64, 256)
    steps: int = 20
    clips: int = 5475  # the paper's training part
    epochs: int = 60
    packing: tuple[int, ...] = (1, 2, 4, 8)
    packed_s: float = 15.0
    matrix: int = 8192


TINY = Sizes((4,), 1, 40, 1, (2,), 0.2, 64)
TINY_NETWORK = {"width": 0.05, "bins": 64, "n_fft": 512, "clip_s": 0.6, "frames": 57}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_s(action: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The median time of an action once it is warm, the device's own work included."""
    seconds = []
    for _ in range(repeats + 3):
        wait(device)
        start = time.perf_counter()
        action()
        wait(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[3:])


def matrix_ceiling(size: int, device: torch.device) -> float:
    """FLOP/s of one large bf16 matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2.0 * size**3 / median_s(lambda: a @ b, 10, device)


def a_run(corpus: Corpus, config: RunConfig, device: torch.device) -> Run:
    """A run on every clip of the corpus: none is held back."""
    config = config.replace(dev_fraction=0.0, test_fraction=0.02)
    none = np.empty(0, np.int64)
    split = replace(make_split(corpus, config), _train=np.arange(len(corpus)), _dev=none, _test=none)
    return Run(config, corpus, split, device)


def ours(corpus: Corpus, config: RunConfig, sizes: Sizes, device: torch.device) -> dict[str, float]:
    """Training steps, front end included: clips per second, with and without waiting for each step, the front end's share, memory.

    Steps, and the front end's calls, follow each other without waiting for the device, as in an epoch. Memory: at most allocated
    in a step that is warm, the corpus included.
    """
    run = a_run(corpus, config, device)
    run.network.train()
    clips = torch.from_numpy(corpus.part(run.split, "train"))[: config.batch_size]

    def in_turn(action: Callable[[], object]) -> float:
        return median_s(lambda: [action() for _ in range(sizes.steps)], 3, device) / sizes.steps

    run._step(clips)
    if device.type == "cuda":
        wait(device)
        torch.cuda.reset_peak_memory_stats(device)  # cuDNN has tried its kernels by now, some with much memory
    step_s = in_turn(lambda: run._step(clips))
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    waiting_s = median_s(lambda: float(run._step(clips)["total"]), sizes.steps, device)
    return {
        "clips_per_s": len(clips) / step_s,
        "waiting_clips_per_s": len(clips) / waiting_s,
        "front_end_share": in_turn(lambda: run._batches(clips)) / step_s,
        "memory_bytes": memory,
    }


def plain(config: RunConfig, sizes: Sizes, device: torch.device, bf16: bool) -> float:
    """The peer's clips per second."""
    Block.fast = False
    try:
        network = VGGVox(config, {"emotion": EMOTIONS, "speaker": SPEAKERS}).to(device).train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        held = torch.randn(config.batch_size, 1, config.bins, config.frames)
        emotion, speaker = (torch.arange(config.batch_size) % classes for classes in (EMOTIONS, SPEAKERS))

        def step() -> None:
            x = held.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits, _ = network(x)
                loss = F.cross_entropy(logits["emotion"], emotion.to(device))
                loss = loss + F.cross_entropy(logits["speaker"], speaker.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

        return config.batch_size / median_s(step, sizes.steps, device)
    finally:
        Block.fast = True


def recipe(corpus: Corpus, config: RunConfig, epochs: int, device: torch.device) -> dict[str, float]:
    """A whole run, everything from an opened corpus to the last epoch's losses: its clips, epochs and seconds."""
    wait(device)
    start, done = time.perf_counter(), 0
    run = a_run(corpus, config.replace(epochs=epochs), device)
    while done < epochs and time.perf_counter() - start < RECIPE_S:
        run.train_epoch()  # ends by reading the epoch's losses
        done += 1
    return {"clips": len(run._train), "epochs": done, "seconds": time.perf_counter() - start}


def packed(corpus: Corpus, config: RunConfig, device: torch.device, trials: int, seconds: float) -> float:
    """Clips per second of that many trials at once, each a process of its own on the same device. Raises RuntimeError."""
    context = multiprocessing.get_context("spawn")
    ready, counts = context.Barrier(trials), context.Queue()
    arguments = (str(corpus.path), json.dumps(config.model_dump()), str(device), seconds, ready, counts)
    processes = [context.Process(target=_packed_trial, args=arguments) for _ in range(trials)]
    for process in processes:
        process.start()
    until = time.monotonic() + PACKED_S + seconds
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    if codes := [process.exitcode for process in processes if process.exitcode]:
        raise RuntimeError(f"{len(codes)} of {trials} processes did not fit, or failed (exit codes {codes})")
    return sum(counts.get() for _ in processes)


def _packed_trial(path: str, config: str, device_name: str, seconds: float, ready: Any, counts: Any) -> None:
    device = torch.device(device_name)
    torch.set_num_threads(1)
    batches.CACHE_BYTES = 0
    corpus, of_trial = Corpus.open(path), RunConfig(**json.loads(config))
    try:
        run = a_run(corpus, of_trial, device)
        run.network.train()
        clips = torch.from_numpy(corpus.part(run.split, "train"))[: of_trial.batch_size]
        run._step(clips)
        wait(device)
    except BaseException:
        ready.abort()
        raise
    ready.wait(PACKED_S)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(5):
            run._step(clips)
            done += len(clips)
        wait(device)
    counts.put(done / (time.perf_counter() - start))


def training(corpus: Corpus, config: RunConfig, sizes: Sizes, device: torch.device, peer: Path | None) -> dict[str, Any]:
    """One row: ours beside the peers."""
    bf16 = config.precision == "bf16"
    row: dict[str, Any] = {"batch": config.batch_size, "precision": config.precision, **ours(corpus, config, sizes, device)}
    row["peer_clips_per_s"] = plain(config, sizes, device, bf16)
    if peer is not None:
        way = "bf16" if bf16 else "strong"
        told = plain_peer.measure(str(peer), [way], config.batch_size, max(2, sizes.steps // 2), str(device))
        row["script_clips_per_s"] = told[f"{way}_clips_per_s"]
    best = max(row[name] for name in ("peer_clips_per_s", "script_clips_per_s") if name in row)
    return row | {"ratio": row["clips_per_s"] / best, "waiting_ratio": row["waiting_clips_per_s"] / best}


def profile(corpus: Corpus, config: RunConfig, device: torch.device) -> str:
    """Where the device's time goes in ten steps, kernel by kernel, as PyTorch's profiler tables it."""
    run = a_run(corpus, config, device)
    run.network.train()
    clips = torch.from_numpy(corpus.part(run.split, "train"))[: config.batch_size]
    for _ in range(3):
        run._step(clips)
    wait(device)
    with torch.profiler.profile() as found:
        for _ in range(10):
            run._step(clips)
        wait(device)
    order = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    return str(found.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=90))


def rows(
    corpus: Corpus, sizes: Sizes, network: dict[str, Any], device: torch.device, peer: Path | None, found: dict[str, Any]
) -> dict[str, Callable[[], None]]:
    """Name -> what measures the row and puts it into `found`, those of most worth first."""

    def config(batch: int, precision: str = "bf16") -> RunConfig:
        return RunConfig(**network, batch_size=batch, precision=precision)

    def ceiling() -> None:
        found["matrix_flop_per_s"] = matrix_ceiling(sizes.matrix, device)

    def whole() -> None:
        found["recipe"] = recipe(corpus, config(usual), sizes.epochs, device)

    def train(batch: int, precision: str) -> Callable[[], None]:
        return lambda: found["training"].append(training(corpus, config(batch, precision), sizes, device, peer))

    def pack(trials: int) -> Callable[[], None]:
        return lambda: found["packing"].update({trials: packed(corpus, config(usual), device, trials, sizes.packed_s)})

    def kernels() -> None:
        found["profile"] = profile(corpus, config(sizes.batches[0]), device).splitlines()

    usual = sizes.batches[min(1, len(sizes.batches) - 1)]
    first, later = sizes.batches[:2], sizes.batches[2:]
    return {
        "a whole run": whole,  # before cuDNN knows its fastest kernels
        "matrix product": ceiling,
        **{f"training, {batch} bf16": train(batch, "bf16") for batch in first},
        **{f"packing, {trials}": pack(trials) for trials in sizes.packing},
        **{f"training, {batch} float32": train(batch, "float32") for batch in first},
        **{f"training, {batch} {precision}": train(batch, precision) for batch in later for precision in ("bf16", "float32")},
        "profile": kernels,
    }


def measure(
    device: torch.device,
    sizes: Sizes,
    network: dict[str, Any],
    peer: Path | None,
    limit_s: float,
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """All rows; `keep` is called after each with what has been found so far. A row that fails is named under 'failed'."""
    began = time.monotonic()
    torch.backends.cudnn.benchmark = True
    batches.CACHE_BYTES = 0  # the spectrograms of a real corpus are too large to keep
    found: dict[str, Any] = {"device": _name(device), "torch": torch.__version__, "cuda": torch.version.cuda}
    found |= {"training": [], "packing": {}, "failed": {}, "row_s": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.arrow"
        write_corpus(path, noise_clips(sizes.clips), name="noise", synthetic=True, source={})
        for name, row in rows(Corpus.open(path), sizes, network, device, peer, found).items():
            start = time.monotonic()
            if start - began > limit_s:
                found["failed"][name] = f"not begun: {limit_s:.0f} s were over"
                continue
            print(f"{start - began:.0f} s: {name} ...", flush=True)
            try:
                row()
            except Exception as error:
                traceback.print_exc()
                found["failed"][name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            batches.forget_device()  # each row begins with the GPU empty, also after one that ran out of its memory
            found["row_s"][name] = round(time.monotonic() - start, 1)
            keep(found)
    keep(found)
    return found


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def page(found: dict[str, Any]) -> str:
    """docs/performance-gpu.md, of the rows there are."""
    ceiling = found.get("matrix_flop_per_s")
    lines = [
        "# Performance on a GPU",
        "",
        f"Written by `python -m tests.benchmarks.gpu` on {datetime.now(UTC):%Y-%m-%d}: {found['device']}, torch {found['torch']}, "
        f"CUDA {found['cuda']}. Noise clips of four seconds; medians.",
        *([f"Measured ceiling: {ceiling / 1e12:.3g} TFLOP/s of a large bf16 matrix product."] if ceiling else []),
        "",
        "`waiting`: ours when it reads its loss after every step, as the peers do. The ratios are to the faster peer.",
        "Memory has the corpus in it.",
        "",
        "| batch | precision | ours, clips/s | plain PyTorch | the peers' script | ratio | ratio, waiting | share of the ceiling "
        "| front end | memory |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(found["training"], key=lambda row: (row["batch"], row["precision"])):
        script = f"{row['script_clips_per_s']:.0f}" if "script_clips_per_s" in row else "–"
        share = f"{100 * row['clips_per_s'] * TRAINING_FLOP / ceiling:.1f} %" if ceiling else "–"
        lines.append(
            f"| {row['batch']} | {row['precision']} | {row['clips_per_s']:.0f} | {row['peer_clips_per_s']:.0f} | {script} | "
            f"{row['ratio']:.2f}× | {row['waiting_ratio']:.2f}× | {share} | {100 * row['front_end_share']:.1f} % | "
            f"{row['memory_bytes'] / 1e6:.0f} MB |"
        )
    lines += ["", f"Floors: {FLOORS['bf16 peer']}× plain bf16; the front end at most {100 * FLOORS['front end']:.0f} % of a step."]
    if "recipe" in found:
        run = found["recipe"]
        lines += [
            "",
            f"A whole run, {run['epochs']} epochs of {run['clips']} clips: {run['seconds']:.1f} s "
            f"(floor: {FLOORS['recipe_s']:.0f} s for 60 epochs of 5,475 clips on an H200-class card).",
        ]
    if found["packing"]:
        lines += ["", "| trials on the GPU at once | clips/s, all together | against one |", "| --- | --- | --- |"]
    alone = found["packing"].get(1)
    for trials, rate in found["packing"].items():
        against = f"{rate / alone:.2f}×" if alone else "–"
        lines.append(f"| {trials} | {rate:.0f} | {against} |")
    if found["failed"]:
        lines += ["", "Not measured:", "", *(f"- {name}: {why}" for name, why in found["failed"].items())]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="seconds on a CPU; proves that the script works, measures nothing")
    parser.add_argument("--out", type=Path, help="folder of performance-gpu.md and .json; without it the JSON is printed")
    there = next((path for path in PEERS if path.exists()), None)
    parser.add_argument("--peer", type=Path, default=there, help="the peers' script [%(default)s]")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help="no row begins later [%(default)s]")
    options = parser.parse_args(argv)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("error: torch finds no CUDA GPU here; --device cpu --tiny tries the script")

    def keep(found: dict[str, Any]) -> None:
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            write_text(options.out / "performance-gpu.json", json.dumps(found, indent=1) + "\n")
            write_text(options.out / "performance-gpu.md", page(found))

    sizes, network = (TINY, TINY_NETWORK) if options.tiny else (Sizes(), {})
    peer = None if options.tiny else options.peer
    found = measure(torch.device(options.device), sizes, network, peer, options.limit, keep)
    print(json.dumps({name: value for name, value in found.items() if name != "profile"}, indent=1))
    if found["failed"]:
        raise SystemExit(f"error: not measured: {', '.join(found['failed'])}")


if __name__ == "__main__":
    main()
