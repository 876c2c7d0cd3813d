"""Clips -> a network's outputs: each clip as a whole, also one longer than the network takes in.

A clip longer than clip_s is cut at its centre, or at `evaluation_cuts` evenly spaced places: then its probabilities are
averaged (its logits are the mean's logarithms), and its embeddings.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sermtl.batches import CENTRE, CUTS, Batches
from sermtl.device import autocast, send
from sermtl.evaluate import Outputs
from sermtl.model import VGGVox

EVALUATION_BATCH = 128  # clips


def evaluation_places(count: int) -> tuple[int, ...]:
    """`count` of the CUTS places, evenly spaced: the centre alone, or from the first to the last."""
    return (CENTRE,) if count == 1 else tuple(place * (CUTS - 1) // (count - 1) for place in range(count))


def mean_logits(logits: Sequence[Tensor]) -> Tensor:
    """Logits whose probabilities are the mean of those of `logits`, each (..., classes)."""
    return torch.stack([values.float().log_softmax(-1) for values in logits]).logsumexp(0) - math.log(len(logits))


@torch.inference_mode()
def outputs_of(network: VGGVox, batches: Batches, indices: NDArray[np.int64], bf16: bool) -> Outputs:
    """What the network says of the clips `indices` (n,) int64. Leaves it in evaluation mode. bf16: autocast to it."""
    network.eval()
    logits: dict[str, list[Tensor]] = {task: [] for task in network.heads}
    embeddings = []
    for part in torch.split(torch.from_numpy(np.ascontiguousarray(indices, dtype=np.int64)), EVALUATION_BATCH):
        by_task, embedding = _of_batch(network, batches, part, bf16)
        embeddings.append(embedding)
        for task, values in by_task.items():
            logits[task].append(values)
    stacked = {task: torch.cat(parts).cpu().numpy() for task, parts in logits.items()}
    return Outputs(np.asarray(indices, dtype=np.int64), stacked, torch.cat(embeddings).cpu().numpy())


def _of_batch(network: VGGVox, batches: Batches, indices: Tensor, bf16: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Task -> logits (B, classes), and embeddings (B, D), float32, of the clips `indices` (B,)."""

    def at(clips: Tensor, place: int) -> tuple[dict[str, Tensor], Tensor]:
        spectrograms, frames = batches(clips, torch.full_like(clips, place))  # in float32, as in training
        with autocast(batches.device, bf16):
            by_task, embedding = network(spectrograms, frames)
        return {task: values.float() for task, values in by_task.items()}, embedding.float()

    first, *more = evaluation_places(batches.config.evaluation_cuts)
    by_task, embedding = at(indices, first)
    is_cut = batches.is_cut(indices)
    if not more or not is_cut.any():
        return by_task, embedding
    rows = send(is_cut.nonzero()[:, 0], batches.device)
    others = [at(indices[is_cut], place) for place in more]
    for task, values in by_task.items():
        values[rows] = mean_logits([values[rows], *(logits[task] for logits, _ in others)])
    embedding[rows] = torch.stack([embedding[rows], *(of_place for _, of_place in others)]).mean(0)
    return by_task, embedding
