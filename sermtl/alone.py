"""`python -m sermtl train`: one configuration, alone, without a study."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sermtl.config import RunConfig, read_config, write_config
from sermtl.device import pick_device
from sermtl.errors import CheckpointError, ConfigError, Parser
from sermtl.evaluate import evaluate, make_pairs, metric_name
from sermtl.fetch import open_corpus
from sermtl.files import check_target, no_folder, write_text
from sermtl.placebo import placebo_notes
from sermtl.split_lines import split_notes
from sermtl.splits import make_split
from sermtl.tasks import make_tasks
from sermtl.train import EpochResult, Run, epochs

CHECKPOINT_S = 30.0  # a checkpoint is due after an epoch or this long, whichever is longer
SHOWN_SCORES = ("emotion_accuracy", "emotion_uar", "speaker_accuracy", "speaker_eer", "speaker_top1")  # beside the main task's


def main(argv: list[str]) -> int:
    """The train command. Raises UserError, or DivergedError when the run diverges."""
    options = _parser().parse_args(argv)
    if why := no_folder(options.out):
        raise ConfigError(f"--out {options.out}: {why}; choose another folder")
    config, corpus = read_config(options.config), open_corpus(options.corpus)
    checkpoint, device = options.out / "checkpoint.pt", pick_device(options.device)
    if checkpoint.exists() and not options.resume:
        raise CheckpointError(f"{options.out}: holds a run already; add --resume to go on with it, or give another --out")
    if (options.out / "model.pt").exists() and not checkpoint.exists():
        raise CheckpointError(f"{options.out}: holds a model.pt that would be written over; give another --out, or move it away")
    if options.threads is not None and not 1 <= options.threads <= 1024:
        raise ConfigError(f"--threads must be between 1 and 1024, but got {options.threads}")
    split = make_split(corpus, config)
    tasks = make_tasks(config.tasks, corpus)  # refuses a task without labels before anything is written
    described = split.describe(corpus)
    parts = ", ".join(f"{part} {facts['clips']}" for part, facts in described.items())
    synthetic = " (synthetic)" if corpus.synthetic else ""
    print(f"{corpus.name}{synthetic}: {len(corpus)} clips, split {split.id} ({parts}), on {device}", flush=True)
    notes = split_notes(split.kind, described, len(corpus)) + placebo_notes(tasks, corpus, corpus.part(split, "train"), config)
    for note in notes:
        print(f"note: {note}", flush=True)
    with _held(options.out):
        resume_from = checkpoint if checkpoint.exists() else None
        if resume_from is None:  # else what stands there is the run's own
            _begin(options.out, config)
        saved = time.monotonic()
        try:
            for result in epochs(config, corpus, split=split, device=device, resume_from=resume_from, threads=options.threads):
                print(_line(result, config), flush=True)
                if result.epoch == config.epochs or time.monotonic() - saved >= CHECKPOINT_S:
                    result.run.save(checkpoint)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            go_on = "the same command with --resume goes on" if checkpoint.exists() else "nothing was saved yet"
            raise KeyboardInterrupt(f"stopped; {go_on}") from None
        _finish(options.out, result, options.test)
    return 0


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder for this run; the operating system lets go of it when the process dies. Raises UserError."""
    try:
        check_target(folder / ".lock")
        file = open(folder / ".lock", "a", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise _unwritable(folder, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(f"{folder}: another run is being trained into it; wait for it, or give another --out") from None
        except OSError as error:
            raise _unwritable(folder, error) from None
        yield


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"--out {folder}: cannot be written to ({error.strerror}); choose another folder")


def _begin(folder: Path, config: RunConfig) -> None:
    try:
        for name in ("model.pt", "history.json", "test.json"):
            check_target(folder / name)
        write_text(folder / "config.toml", write_config(config))
    except OSError as error:
        raise _unwritable(folder, error) from None


def _parser() -> Parser:
    parser = Parser("python -m sermtl train", description="Train one configuration and write its model.")
    parser.add_argument(
        "config",
        type=Path,
        metavar="CONFIG.toml",
        help="knobs of the run (sermtl/config.py lists them); an empty file is the paper's recipe",
    )
    parser.add_argument("--corpus", required=True, help="corpus file of `python -m sermtl prepare`, or its URI")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where model.pt, config.toml and history.json go")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda [%(default)s]")
    parser.add_argument("--threads", type=int, help="CPU threads [all cores]")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    parser.add_argument("--test", action="store_true", help="open the test part at the end and print its scores")
    return parser


def _shown(scores: dict[str, float], config: RunConfig) -> str:
    """Of all scores the main task's, and what is usually asked for."""
    mains = [metric_name(f"{config.main}_{score}") for score in ("accuracy", "uar")]
    return "  ".join(f"{name} {scores[name]:.3f}" for name in dict.fromkeys([*mains, *SHOWN_SCORES]) if name in scores)


def _line(result: EpochResult, config: RunConfig) -> str:
    scores = _shown(result.scores, config) or "none"
    losses = "  ".join(f"{name} {value:.3f}" for name, value in result.losses.items() if name != "total")
    seconds = result.seconds_train + result.seconds_evaluate
    return f"epoch {result.epoch}/{config.epochs}  loss {result.losses['total']:.4f} ({losses})  dev: {scores}  {seconds:.1f} s"


def _finish(folder: Path, result: EpochResult, test: bool) -> None:
    result.run.export(folder / "model.pt")
    write_text(folder / "history.json", json.dumps(result.run.history, indent=1) + "\n")
    print(f"wrote {folder / 'model.pt'}")
    if test:
        scores = test_scores(result.run)
        write_text(folder / "test.json", json.dumps(scores, indent=1) + "\n")
        print(f"test: {_shown(scores, result.run.config)}")


def test_scores(run: Run) -> dict[str, float]:
    """The run's scores on the test part, opened here; the verification threshold is chosen before, by `Run.threshold`."""
    corpus, split, config = run.corpus, run.split, run.config
    indices = corpus.part(split, "test", "confirm")
    if not split.speaker_disjoint:
        return evaluate(run.predict(indices), run.tasks, False).values
    threshold = run.threshold()
    pairs = None if threshold is None else make_pairs(corpus, indices, config.split_seed)  # a threshold is never chosen on test
    return evaluate(run.predict(indices), run.tasks, True, pairs=pairs, threshold=threshold).values
