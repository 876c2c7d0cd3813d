"""Every GPU row in one command; writes docs/performance-gpu.md and the JSON beside it.

Needs torch, NumPy, SciPy, pyarrow and pydantic only, so that it runs on a borrowed GPU:

    python -m tests.benchmarks.gpu [--device cuda] [--out docs]

The peer is plain PyTorch as one writes it: spectrograms computed beforehand and held in memory, channels_last, cuDNN's
fastest kernels, with and without bf16 autocast. It trains the same network (the trunk of Table 1 with its fast ways off) and
reads its loss after every step, as training loops do. `--tiny` is for trying the script where there is no GPU.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
from tests.benchmarks.training import EMOTIONS, SPEAKERS, noise_clips

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
    config = config.replace(dev_fraction=0.0, test_fraction=0.02)
    return Run(config, corpus, make_split(corpus, config), device)


def ours(corpus: Corpus, config: RunConfig, sizes: Sizes, device: torch.device) -> dict[str, float]:
    """Training steps, front end included, without waiting between steps: clips per second, the front end's share, memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    run = a_run(corpus, config, device)
    run.network.train()
    clips = torch.from_numpy(corpus.part(run.split, "train"))[: config.batch_size]

    def steps() -> None:
        for _ in range(sizes.steps):
            run._step(clips)

    step_s = median_s(steps, 3, device) / sizes.steps
    front_end_s = median_s(lambda: run._batches(clips), sizes.steps, device)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {"clips_per_s": len(clips) / step_s, "front_end_share": front_end_s / step_s, "memory_bytes": memory}


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


def recipe_s(corpus: Corpus, config: RunConfig, epochs: int, device: torch.device) -> float:
    """Seconds of a whole run: everything from an opened corpus to the last epoch's losses."""
    wait(device)
    start = time.perf_counter()
    run = a_run(corpus, config.replace(epochs=epochs, precision="bf16"), device)
    for _ in range(epochs):
        run.train_epoch()
    wait(device)
    return time.perf_counter() - start


def packed(corpus: Corpus, config: RunConfig, device: torch.device, trials: int, seconds: float) -> float:
    """Clips per second of that many trials at once, each a process of its own on the same device."""
    context = multiprocessing.get_context("spawn")
    ready, counts = context.Barrier(trials), context.Queue()
    arguments = (str(corpus.path), json.dumps(config.model_dump()), str(device), seconds, ready, counts)
    processes = [context.Process(target=_packed_trial, args=arguments) for _ in range(trials)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        return 0.0  # one of them did not fit, or failed: nothing is claimed
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
    ready.wait(600)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(5):
            run._step(clips)
            done += len(clips)
        wait(device)
    counts.put(done / (time.perf_counter() - start))


def measure(device: torch.device, sizes: Sizes, network: dict[str, Any]) -> dict[str, Any]:
    """All rows."""
    torch.backends.cudnn.benchmark = True
    batches.CACHE_BYTES = 0  # the spectrograms of a real corpus are too large to keep
    found: dict[str, Any] = {"device": _name(device), "torch": torch.__version__, "cuda": torch.version.cuda}
    found["matrix_flop_per_s"] = matrix_ceiling(sizes.matrix, device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.arrow"
        write_corpus(path, noise_clips(sizes.clips), name="noise", synthetic=True, source={})
        corpus = Corpus.open(path)
        found["training"] = []
        for batch in sizes.batches:
            for precision in ("float32", "bf16"):
                config = RunConfig(**network, batch_size=batch, precision=precision)
                row = ours(corpus, config, sizes, device)
                peer = plain(config, sizes, device, precision == "bf16")
                share = row["clips_per_s"] * TRAINING_FLOP / found["matrix_flop_per_s"]
                row |= {"peer_clips_per_s": peer, "ratio": row["clips_per_s"] / peer, "share_of_matrix_ceiling": share}
                found["training"].append({"batch": batch, "precision": precision, **row})
        config = RunConfig(**network, batch_size=sizes.batches[min(1, len(sizes.batches) - 1)], precision="bf16")
        found["recipe"] = {
            "clips": len(corpus),
            "epochs": sizes.epochs,
            "seconds": recipe_s(corpus, config, sizes.epochs, device),
        }
        if device.type == "cuda":
            torch.cuda.empty_cache()
        found["packing"] = {trials: packed(corpus, config, device, trials, sizes.packed_s) for trials in sizes.packing}
    return found


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def page(found: dict[str, Any]) -> str:
    """docs/performance-gpu.md."""
    ceiling, recipe = found["matrix_flop_per_s"], found["recipe"]
    lines = [
        "# Performance on a GPU",
        "",
        f"Written by `python -m tests.benchmarks.gpu` on {datetime.now(UTC):%Y-%m-%d}: {found['device']}, torch {found['torch']}, "
        f"CUDA {found['cuda']}.",
        f"Measured ceiling: {ceiling / 1e12:.3g} TFLOP/s of a large bf16 matrix product. Noise clips of four seconds; medians.",
        "",
        "| batch | precision | ours, clips/s | plain PyTorch, clips/s | ratio | share of the ceiling | front end | memory |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["training"]:
        lines.append(
            f"| {row['batch']} | {row['precision']} | {row['clips_per_s']:.0f} | {row['peer_clips_per_s']:.0f} | "
            f"{row['ratio']:.2f}× | {100 * row['share_of_matrix_ceiling']:.1f} % | {100 * row['front_end_share']:.1f} % | "
            f"{row['memory_bytes'] / 1e6:.0f} MB |"
        )
    lines += [
        "",
        f"Floors: {FLOORS['bf16 peer']}× plain bf16; the front end at most {100 * FLOORS['front end']:.0f} % of a step.",
        "",
        f"A whole run, {recipe['epochs']} epochs of {recipe['clips']} clips: {recipe['seconds']:.1f} s "
        f"(floor: {FLOORS['recipe_s']:.0f} s for 60 epochs of 5,475 clips on an H200-class card).",
        "",
        "| trials on the GPU at once | clips/s, all together | against one |",
        "| --- | --- | --- |",
    ]
    alone = found["packing"][min(found["packing"])]
    for trials, rate in found["packing"].items():
        lines.append(f"| {trials} | {rate:.0f} | {rate / alone:.2f}× |" if rate and alone else f"| {trials} | failed | |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="seconds on a CPU; proves that the script works, measures nothing")
    parser.add_argument("--out", type=Path, help="folder of performance-gpu.md and .json; without it the JSON is printed")
    options = parser.parse_args(argv)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("error: torch finds no CUDA GPU here; --device cpu --tiny tries the script")
    found = measure(torch.device(options.device), TINY if options.tiny else Sizes(), TINY_NETWORK if options.tiny else {})
    print(json.dumps(found, indent=1))
    if options.out:
        write_text(options.out / "performance-gpu.json", json.dumps(found, indent=1) + "\n")
        write_text(options.out / "performance-gpu.md", page(found))


if __name__ == "__main__":
    main()
