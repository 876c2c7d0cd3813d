"""One run of one configuration: `epochs()` is a generator of epochs, and whoever runs it stops by leaving the loop.

A run's only state is its `Run`: network, optimizer, weighting, generators, history. Saved and resumed it goes on bit
for bit as if it had never stopped (on a CPU). The loss of the paper: cross entropy per task, summed.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sermtl.augment import draw_mixture, spec_augment
from sermtl.batches import CUTS, Batches, split_batches
from sermtl.checkpoint import check_same, read_weights, write_weights
from sermtl.config import RunConfig
from sermtl.corpus import Corpus, Split
from sermtl.device import autocast, multiplies_bf16, send
from sermtl.errors import CheckpointError, DivergedError, SplitError
from sermtl.evaluate import Outputs, Pairs, Scores, evaluate, make_pairs
from sermtl.forward import outputs_of
from sermtl.memory import keep_freed_memory
from sermtl.model import VGGVox, dropout, part_generator
from sermtl.optimizer import learning_rate, make_optimizer
from sermtl.placebo import training_labels
from sermtl.splits import make_split
from sermtl.tasks import Task, check_labelled, make_tasks
from sermtl.weighting import Weighting, task_loss

GENERATORS = ("order", "cuts", "masks", "mixup")  # CPU generators; dropout's lives on the device


@dataclass(frozen=True, eq=False)
class EpochResult:
    """What one epoch came to.

    epoch       finished epochs, 1-based
    scores      dev scores by name (sermtl.evaluate.Scores.values); empty where the split has no dev part
    losses      mean training losses: 'total' and one per trained task
    weights     task -> the factor of its loss, as last used
    confusion   task -> (classes, classes) counts on dev, rows true
    """

    epoch: int
    scores: dict[str, float]
    losses: dict[str, float]
    weights: dict[str, float]
    learning_rate: float
    seconds_train: float
    seconds_evaluate: float
    confusion: dict[str, NDArray[np.int64]]
    run: "Run"

    def row(self) -> dict[str, float]:
        """The epoch as one flat row, as records, MLflow and the report hold it."""
        return {
            "epoch": float(self.epoch),
            "learning_rate": self.learning_rate,
            "seconds_train": self.seconds_train,
            "seconds_evaluate": self.seconds_evaluate,
            **{f"loss_{name}": value for name, value in self.losses.items()},
            **{f"weight_{name}": value for name, value in self.weights.items()},
            **self.scores,
        }


def epochs(
    config: RunConfig,
    corpus: Corpus,
    *,
    split: Split | None = None,
    device: str = "cpu",
    resume_from: Path | None = None,
    threads: int | None = None,
) -> Iterator[EpochResult]:
    """Train, yielding after every epoch; from a checkpoint, the epochs that are left (of a finished run, its last once more).

    split: None makes the configuration's own. threads: torch's on the CPU; None leaves them. On a split without a dev part
    ('paper') the scores are empty.
    Raises ConfigError or SplitError for what does not fit the corpus, CheckpointError for a checkpoint that is not this run's,
    DivergedError when a loss is no longer finite.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    run = Run(config, corpus, split or make_split(corpus, config), torch.device(device))
    if resume_from is not None:
        run.load(resume_from)
        if run.epoch == config.epochs:
            yield run.evaluated(run.history[-1])
    while run.epoch < config.epochs:
        yield run.train_epoch()


class Run:
    """A run in progress: everything that changes while it trains, and how to save it.

    config, split, tasks, network   what it is
    epoch                           finished epochs
    history                         one row per finished epoch (EpochResult.row())
    """

    def __init__(self, config: RunConfig, corpus: Corpus, split: Split, device: torch.device) -> None:
        self.config, self.corpus, self.split, self.device = config, corpus, split, device
        torch.backends.cudnn.benchmark = True  # shapes stay the same: let it find its fastest kernels
        if device.type == "cpu":
            keep_freed_memory()
        self.tasks: tuple[Task, ...] = make_tasks(config.tasks, corpus)
        self.classes = {task.name: len(task.classes) for task in self.tasks}
        self.network = VGGVox(config, self.classes).to(device)
        self.weighting = Weighting(config, self.classes, device)
        self.optimizer = make_optimizer(config, list(self.network.parameters()), self.weighting.parameters)
        self.bf16 = multiplies_bf16(config, device)
        self.epoch, self.history = 0, list[dict[str, float]]()
        self._generators = {name: part_generator(config.seed, name) for name in GENERATORS}
        self._generators["dropout"] = part_generator(config.seed, "dropout", device)
        self._train, self._dev = corpus.part(split, "train"), corpus.part(split, "dev")
        if config.train_on_dev:
            self._train, self._dev = np.union1d(self._train, self._dev), self._dev[:0]
        if len(self._train) < 2:
            raise SplitError(f"the training part of split {split.id!r} has {len(self._train)} clip(s); training needs at least 2")
        check_labelled([task for task in self.tasks if task.name in self.weighting.trained], self._train, split.id)
        self._batches = Batches(corpus, config, device)
        self._labels = {task.name: self._training_labels(task) for task in self.tasks}
        self._pairs: Pairs | None = None

    def _training_labels(self, task: Task) -> Tensor:
        return torch.from_numpy(training_labels(task, self.corpus, self._train, self.config)).to(self.device)

    # ---- training ------------------------------------------------------------------------------------------------

    def train_epoch(self) -> EpochResult:
        """One pass over the training part, then dev. Raises DivergedError."""
        began = time.perf_counter()
        self.network.train()
        losses, rate = self._pass()
        self.weighting.end_epoch(losses)
        self.epoch += 1
        trained = time.perf_counter()
        scores = self.evaluate_dev()
        ended = time.perf_counter()
        result = EpochResult(
            self.epoch,
            scores.values,
            losses,
            self.weighting.weights,
            rate,
            trained - began,
            ended - trained,
            scores.confusion,
            self,
        )
        self.history.append(result.row())
        return result

    def _pass(self) -> tuple[dict[str, float], float]:
        """Every training clip once, in random order. Returns the mean losses and the last learning rate."""
        order = torch.from_numpy(self._train)[torch.randperm(len(self._train), generator=self._generators["order"])]
        batches = split_batches(order, self.config.batch_size)
        sums: dict[str, Tensor] = {}
        rate = self.config.learning_rate
        for number, indices in enumerate(batches):
            rate = learning_rate(self.config, self.epoch * len(batches) + number, len(batches))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            # sums stay on the device: nothing waits for it within the epoch
            for name, value in self._step(indices).items():
                sums[name] = sums[name] + value if name in sums else value
        clips = sum(map(len, batches))  # a last batch of one is left out
        means = {name: float(total) / clips for name, total in sums.items() if not name.endswith("/count")}
        for name in self.weighting.trained:
            means[name] = float(sums[name]) / max(float(sums[f"{name}/count"]), 1.0)
        check_finite(means, self.epoch + 1, rate)
        return means, rate

    def _step(self, indices: Tensor) -> dict[str, Tensor]:
        """One optimizer step on the clips `indices` (B,); returns sums of losses over clips, and counts of labelled clips."""
        config, generators = self.config, self._generators
        cuts = torch.randint(CUTS, (len(indices),), generator=generators["cuts"])
        spectrograms, frames = self._batches(indices, cuts)
        spectrograms = spec_augment(spectrograms, frames, config, generators["masks"])
        mixture = draw_mixture(len(indices), config, generators["mixup"], self.device)
        if mixture is not None:
            spectrograms, frames = mixture.spectrograms(spectrograms), mixture.frames(frames)
        on_device = send(indices, self.device)
        with autocast(self.device, self.bf16):
            embedding = self.network.embed(spectrograms, frames)
            embedding = dropout(embedding, config.dropout, generators["dropout"])
            logits = {
                task: self.network.heads[task](self.weighting.for_head(task, embedding)).float() for task in self.weighting.trained
            }
        labels = {task: self._labels[task][on_device] for task in logits}
        counts = {task: (labels[task] >= 0).sum() for task in logits}
        losses = {task: task_loss(logits[task], labels[task], counts[task], config.label_smoothing) for task in logits}
        if mixture is not None:
            for task, loss in losses.items():
                partners = task_loss(logits[task], labels[task][mixture.partner], counts[task], config.label_smoothing)
                losses[task] = mixture.share * loss + (1 - mixture.share) * partners
        self.optimizer.zero_grad(set_to_none=True)
        total = self.weighting.backward(losses, list(self.network.trunk.parameters()), counts)
        if config.gradient_clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_clip)
        self.optimizer.step()
        sums = {"total": total * len(indices)}
        for task, loss in losses.items():
            sums |= {task: loss.detach() * counts[task], f"{task}/count": counts[task]}
        return sums

    # ---- evaluation ----------------------------------------------------------------------------------------------

    def evaluate_dev(self) -> Scores:
        """The scores on dev; none where the split has no dev part. Raises DivergedError."""
        if len(self._dev) == 0:
            evaluate(self.predict(self._train[:1]), self.tasks, False)  # no loss tells of the last step, but what a clip comes to
            return Scores({}, {}, None)
        if self._pairs is None and self.split.speaker_disjoint:
            self._pairs = make_pairs(self.corpus, self._dev, self.config.split_seed)
        outputs = self.predict(self._dev)
        return evaluate(outputs, self.tasks, self.split.speaker_disjoint, pairs=self._pairs)

    def evaluated(self, row: dict[str, float]) -> EpochResult:
        """The last finished epoch once more, from its row; dev is evaluated again for its confusion."""
        scores = self.evaluate_dev()
        losses = {name.removeprefix("loss_"): row[name] for name in row if name.startswith("loss_")}
        seconds = row["seconds_train"], row["seconds_evaluate"]
        weights = self.weighting.weights
        return EpochResult(self.epoch, scores.values, losses, weights, row["learning_rate"], *seconds, scores.confusion, self)

    def threshold(self) -> float | None:
        """The verification threshold for clips of other speakers: chosen on dev pairs, on training pairs where dev makes none.

        None where neither makes any: other speakers can then not be told apart by a threshold.
        """
        for indices in (self._dev, self._train):
            pairs = make_pairs(self.corpus, indices, self.config.split_seed)
            if len(pairs):
                return evaluate(self.predict(indices), (), True, pairs=pairs).values["speaker_threshold"]
        return None

    def predict(self, indices: NDArray[np.int64]) -> Outputs:
        """Logits and embeddings of any clips of the corpus."""
        return outputs_of(self.network, self._batches, indices, self.bf16)

    # ---- files ---------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the checkpoint that `epochs(resume_from=path)` goes on from; whole or not at all, loadable without pickle."""
        write_weights(
            path,
            self._model()
            | {
                "epoch": self.epoch,
                "history": self.history,
                "optimizer": self.optimizer.state_dict(),
                "weighting": self.weighting.state_dict(),
                "generators": {name: generator.get_state() for name, generator in self._generators.items()},
            },
        )

    def export(self, path: Path) -> None:
        """Write the model alone, for `sermtl.predict.load_model`."""
        write_weights(path, self._model())

    def _model(self) -> dict[str, Any]:
        corpus = {"name": self.corpus.name, "checksum": self.corpus.checksum, "synthetic": self.corpus.synthetic}
        return {
            "config": json.dumps(self.config.model_dump()),
            "classes": {task.name: list(task.classes) for task in self.tasks},
            "corpus": corpus,
            "split": self.split.id,
            "network": self.network.state_dict(),
        }

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises CheckpointError when it is missing, damaged, or another run's."""
        state = read_weights(path)
        if "optimizer" not in state:
            raise CheckpointError(f"{path}: holds a model only; a run goes on from a checkpoint that Run.save wrote")
        here = {"config": json.dumps(self.config.model_dump()), "corpus": self.corpus.checksum, "split": self.split.id}
        try:
            for table in ("corpus", "network", "optimizer", "weighting", "generators"):
                if not isinstance(state[table], dict):
                    raise TypeError(f"its {table} is a {type(state[table]).__name__}")
            there = {"config": str(state["config"]), "corpus": str(state["corpus"]["checksum"]), "split": str(state["split"])}
            check_same(path, there, here)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.weighting.load_state_dict(state["weighting"])
            for name, generator in self._generators.items():
                generator.set_state(state["generators"][name])
            self.epoch, self.history = int(state["epoch"]), checked_history(state["history"], self.config.epochs)
            if self.epoch != len(self.history):
                raise ValueError(f"it has {len(self.history)} rows of {self.epoch} epochs")
        except (LookupError, AttributeError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path}: does not fit this run ({error}); start anew without it") from None


def checked_history(rows: Any, most: int) -> list[dict[str, float]]:
    """A checkpoint's rows. Raises ValueError, or another error of what is not a list of at least one and at most `most` rows."""
    history = [{str(name): float(value) for name, value in row.items()} for row in rows]
    if not 1 <= len(history) <= most or any(
        not {"learning_rate", "seconds_train", "seconds_evaluate"} <= row.keys() for row in history
    ):
        raise ValueError("its history is not this run's")
    return history


def check_finite(losses: dict[str, float], epoch: int, rate: float) -> None:
    """Raise DivergedError naming the first loss that is not a finite number."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DivergedError(f"the {name} loss is {value} in epoch {epoch} at learning rate {rate:.3g}; lower learning_rate")
