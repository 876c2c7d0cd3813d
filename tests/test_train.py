"""Whole runs on the tiny corpus: exact resumption, the control, the paper's sum, seeds, missing labels, divergence."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from sermtl.config import RunConfig, Weighting
from sermtl.corpus import Corpus
from sermtl.corpus_file import Clip, write_corpus
from sermtl.errors import CheckpointError, ConfigError, DivergedError, SplitError
from sermtl.splits import make_split
from sermtl.train import EpochResult, Run, epochs
from tests.tiny import tiny_clips

SMALL = RunConfig(
    **{"clip_s": 0.6, "frames": 64, "bins": 32, "n_fft": 512, "frequency_scale": "mel", "amplitude": "log", "normalise": "bin"},
    **{"width": 0.05, "epochs": 3, "batch_size": 16, "learning_rate": 0.02, "precision": "float32"},
)
EVERYTHING = SMALL.replace(
    **{"weighting": "dwa", "schedule": "onecycle", "dropout": 0.3, "time_mask": 0.2, "frequency_mask": 0.2},
    **{"label_smoothing": 0.1, "mixup": 0.4, "evaluation_cuts": 3},
)
GENTLE = SMALL.replace(learning_rate=0.001)  # where rounding does not grow: SMALL's own rate turns 1e-6 into 1e-2 within two epochs
# the losses of GENTLE's epochs (float32, 1 thread), total and per task
GOLDEN_LOSSES = [
    {"total": 4.05007, "emotion": 1.15529, "speaker": 2.89478},
    {"total": 3.94635, "emotion": 1.18246, "speaker": 2.76389},
    {"total": 3.87967, "emotion": 1.21448, "speaker": 2.66519},
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def final(config: RunConfig, corpus: Corpus, **options: object) -> EpochResult:
    *_, result = epochs(config, corpus, **options)  # type: ignore[arg-type]
    return result


def losses(config: RunConfig, corpus: Corpus) -> list[dict[str, float]]:
    return [result.losses for result in epochs(config, corpus)]


def test_training_on_dev_is_training_without_a_dev_part(tiny_corpus: Corpus) -> None:
    with_dev = SMALL.replace(dev_fraction=0.25)
    together, without = with_dev.replace(train_on_dev=True), with_dev.replace(dev_fraction=0.0)
    first, second = (final(config, tiny_corpus) for config in (together, without))
    assert len(make_split(tiny_corpus, with_dev).describe(tiny_corpus)["dev"]["speakers"]) > 0
    assert first.losses == second.losses
    weights = first.run.network.state_dict(), second.run.network.state_dict()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert first.scores == {}
    test = tiny_corpus.part(first.run.split, "test", phase="confirm")
    assert not np.isin(test, first.run._train).any()


def without_seconds(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


def same_weights(a: Run, b: Run) -> bool:
    mine, theirs = a.network.state_dict(), b.network.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_an_epoch_tells_everything(tiny_corpus: Corpus) -> None:
    result = final(SMALL, tiny_corpus, threads=1)
    assert result.epoch == 3
    assert {"emotion_uar", "emotion_accuracy", "speaker_eer", "speaker_verification"} <= set(result.scores)
    assert set(result.losses) == {"total", "emotion", "speaker"}
    assert result.confusion["emotion"].sum() == len(tiny_corpus.part(result.run.split, "dev"))
    row = result.row()
    expected = {"epoch", "learning_rate", "seconds_train", "seconds_evaluate", "loss_total", "loss_emotion", "loss_speaker"}
    assert expected | {"weight_emotion", "weight_speaker"} <= set(row)
    assert all(isinstance(value, float) for value in row.values())
    assert result.run.history[-1] == row
    assert [row["epoch"] for row in result.run.history] == [1, 2, 3]


def test_it_learns(tiny_corpus: Corpus) -> None:
    first, *_, last = losses(SMALL.replace(epochs=8, schedule="cosine"), tiny_corpus)
    assert last["total"] < 0.8 * first["total"]


def test_the_same_seed_gives_the_same_run_and_another_does_not(tiny_corpus: Corpus) -> None:
    config = EVERYTHING.replace(epochs=1)
    first, again = (final(config, tiny_corpus) for _ in range(2))
    assert without_seconds(first.run.history) == without_seconds(again.run.history)
    assert same_weights(first.run, again.run)
    other = final(config.replace(seed=1), tiny_corpus)
    assert other.losses != first.losses


def test_torchs_global_generator_does_not_matter(tiny_corpus: Corpus) -> None:
    config = EVERYTHING.replace(epochs=1)
    torch.manual_seed(1)
    first = losses(config, tiny_corpus)
    torch.manual_seed(2)
    assert losses(config, tiny_corpus) == first


def test_golden_losses(tiny_corpus: Corpus) -> None:
    """The maths is what it was: a change that should not alter it leaves these alone. Wide enough for other CPUs."""
    for expected, found in zip(GOLDEN_LOSSES, losses(GENTLE, tiny_corpus), strict=True):
        assert found == pytest.approx(expected, rel=2e-3)


# ---- the control and the paper's sum -------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", get_args(Weighting))
@pytest.mark.parametrize("extra", [{}, {"optimizer": "adamw", "gradient_clip": 1.0, "dropout": 0.2}])
def test_weight_0_is_the_control_bit_for_bit(tiny_corpus: Corpus, weighting: str, extra: dict[str, object]) -> None:
    config = SMALL.replace(weighting=weighting, **extra)
    zero = final(config.replace(auxiliary={"speaker": 0.0, "sex": 0.0}), tiny_corpus)
    control = final(config.replace(auxiliary={}), tiny_corpus)
    weights = zero.run.network.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in control.run.network.state_dict().items())
    assert zero.scores["emotion_loss"] == control.scores["emotion_loss"]
    assert zero.losses["total"] == control.losses["total"]


def test_weight_1_is_the_papers_sum(tiny_corpus: Corpus) -> None:
    """One step of the run equals one step written out: cross entropies summed, then SGD."""
    config = SMALL.replace(epochs=1, batch_size=4096, clip_s=1.0)  # no clip is longer: no random cuts
    split = make_split(tiny_corpus, config)
    fresh = Run(config, tiny_corpus, split, torch.device("cpu"))
    network = fresh.network.train()
    indices = tiny_corpus.part(split, "train")
    order = torch.from_numpy(indices)[torch.randperm(len(indices), generator=fresh._generators["order"])]
    logits, _ = network(*fresh._batches(order))
    terms = [torch.nn.functional.cross_entropy(logits[task.name], torch.from_numpy(task.labels)[order]) for task in fresh.tasks]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    torch.autograd.backward(sum(terms))
    optimizer.step()

    result = final(config, tiny_corpus, split=split)
    assert result.losses["total"] == pytest.approx(float(sum(terms).detach()), rel=1e-6)
    assert all(
        torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6)
        for mine, theirs in zip(result.run.network.parameters(), network.parameters(), strict=True)
    )


@pytest.mark.parametrize("batch_size", [4096, 83], ids=["one batch", "a last clip left out"])
def test_the_total_is_the_weighted_sum(tiny_corpus: Corpus, batch_size: int) -> None:
    assert len(tiny_corpus.part(make_split(tiny_corpus, SMALL), "train")) == 84
    (epoch,) = losses(SMALL.replace(auxiliary={"speaker": 0.3, "sex": 2.0}, epochs=1, batch_size=batch_size), tiny_corpus)
    assert epoch["total"] == pytest.approx(epoch["emotion"] + 0.3 * epoch["speaker"] + 2 * epoch["sex"], rel=1e-5)


@pytest.mark.parametrize("weighting", ["scale", "uncertainty", "dwa", "random", "pcgrad", "adversarial"])
def test_every_weighting_trains(tiny_corpus: Corpus, weighting: str) -> None:
    result = final(SMALL.replace(weighting=weighting), tiny_corpus)
    assert set(result.weights) == {"emotion", "speaker"}
    assert np.isfinite(list(result.losses.values())).all()


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty", "pcgrad", "adversarial"])
def test_gradients_lie_as_their_parameters_do(tiny_corpus: Corpus, weighting: str) -> None:
    """A fused optimizer goes through both as they lie in memory: on a CPU it asks nothing, on a GPU it refuses."""
    run = final(SMALL.replace(weighting=weighting, epochs=1), tiny_corpus).run
    for name, parameter in run.network.named_parameters():
        lies, should = (
            [stride for stride, size in zip(of.stride(), of.shape, strict=True) if size > 1] for of in (parameter.grad, parameter)
        )
        assert lies == should, name


def test_placebo_changes_the_auxiliary_labels_only(tiny_corpus: Corpus) -> None:
    runs = [final(SMALL.replace(placebo=placebo, epochs=1), tiny_corpus).run for placebo in ("none", "permuted")]
    true, permuted = (run._labels for run in runs)
    assert torch.equal(true["emotion"], permuted["emotion"])
    assert not torch.equal(true["speaker"], permuted["speaker"])


# ---- resuming ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra", [{}, {"weighting": "uncertainty", "optimizer": "adamw"}, {"weighting": "random"}, {"padding": "masked"}]
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tiny_corpus: Corpus, tmp_path: Path, extra: dict[str, object]
) -> None:
    config = EVERYTHING.replace(epochs=5, clip_s=0.5, **extra)
    whole = final(config, tiny_corpus)
    for stop in (1, 3):
        for result in islice(epochs(config, tiny_corpus), stop):
            result.run.save(tmp_path / "checkpoint.pt")
        resumed = final(config, tiny_corpus, resume_from=tmp_path / "checkpoint.pt")
        assert without_seconds(resumed.run.history) == without_seconds(whole.run.history)
        assert same_weights(resumed.run, whole.run)
        assert resumed.scores == whole.scores


KILLED = """
import sys
from pathlib import Path
from sermtl.config import read_config
from sermtl.corpus import Corpus
from sermtl.train import epochs
config, corpus, out = sys.argv[1:]
for result in epochs(read_config(Path(config)), Corpus.open(Path(corpus)), threads=1):
    result.run.save(Path(out))
    print(result.epoch, flush=True)
"""


def test_killed_in_the_middle_of_an_epoch_it_goes_on_as_if_nothing_had_been(tiny_corpus: Corpus, tmp_path: Path) -> None:
    from sermtl.config import write_config

    config = EVERYTHING.replace(epochs=40, clip_s=0.5)
    (tmp_path / "run.toml").write_text(write_config(config))
    checkpoint = tmp_path / "checkpoint.pt"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run.toml"), str(tiny_corpus.path), str(checkpoint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        time.sleep(0.05)  # somewhere within the second epoch, or the third
        os.kill(process.pid, signal.SIGKILL)
    saved = torch.load(checkpoint, weights_only=True)["epoch"]
    last = saved + 2
    resumed = list(islice(epochs(config, tiny_corpus, resume_from=checkpoint), 2))[-1]
    whole = list(islice(epochs(config, tiny_corpus), last))[-1]
    assert resumed.epoch == whole.epoch == last
    assert without_seconds(resumed.run.history) == without_seconds(whole.run.history)
    assert same_weights(resumed.run, whole.run)


def test_a_finished_run_gives_its_last_epoch_again(tiny_corpus: Corpus, tmp_path: Path) -> None:
    whole = final(SMALL, tiny_corpus)
    whole.run.save(tmp_path / "checkpoint.pt")
    (again,) = epochs(SMALL, tiny_corpus, resume_from=tmp_path / "checkpoint.pt")
    assert again.row() == whole.row()
    assert np.array_equal(again.confusion["emotion"], whole.confusion["emotion"])


def test_a_checkpoint_of_another_run_is_refused(tiny_corpus: Corpus, tmp_path: Path) -> None:
    run = next(epochs(SMALL, tiny_corpus)).run
    run.save(tmp_path / "checkpoint.pt")
    run.export(tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"another config \(learning_rate = 0.02, not 0.03\)"):
        next(epochs(SMALL.replace(learning_rate=0.03), tiny_corpus, resume_from=tmp_path / "checkpoint.pt"))
    with pytest.raises(CheckpointError, match="a model only"):
        next(epochs(SMALL, tiny_corpus, resume_from=tmp_path / "model.pt"))
    with pytest.raises(CheckpointError, match="no such file"):
        next(epochs(SMALL, tiny_corpus, resume_from=tmp_path / "none.pt"))
    write_corpus(tmp_path / "other.arrow", tiny_clips(seed=1), name="other", synthetic=True, source={})
    with pytest.raises(CheckpointError, match="another corpus"):
        next(epochs(SMALL, Corpus.open(tmp_path / "other.arrow"), resume_from=tmp_path / "checkpoint.pt"))


# ---- corpora and splits --------------------------------------------------------------------------------------------


def test_missing_labels_are_ignored(tmp_path: Path) -> None:
    def clips() -> Iterator[Clip]:
        for number, clip in enumerate(tiny_clips()):
            kept = clip.labels if number % 3 else {**clip.labels, "sex": None}
            yield Clip(clip.name, clip.samples, kept | {"mood": ("good", "bad")[number % 2] if number < 4 else None})

    write_corpus(tmp_path / "gaps.arrow", clips(), name="gaps", synthetic=True, source={})
    config = SMALL.replace(auxiliary={"sex": 1.0, "mood": 1.0}, batch_size=4)
    result = final(config, Corpus.open(tmp_path / "gaps.arrow"))
    assert np.isfinite(list(result.losses.values())).all()
    assert result.losses["sex"] > 0


def test_on_a_sentence_split_speakers_are_identified(tiny_corpus: Corpus) -> None:
    result = final(SMALL.replace(split="sentence", test_fraction=0.25, dev_fraction=0.34), tiny_corpus)
    assert {"speaker_top1", "speaker_top5"} <= set(result.scores)
    assert "speaker_eer" not in result.scores


def test_without_a_dev_part_there_are_no_scores(tiny_corpus: Corpus) -> None:
    result = final(SMALL.replace(dev_fraction=0.0, epochs=1), tiny_corpus)
    assert result.scores == {}
    assert result.confusion == {}
    threshold = result.run.threshold()
    assert threshold is not None
    assert -1 <= threshold <= 1


def test_predict_is_of_the_clips_asked_for(tiny_corpus: Corpus) -> None:
    run = final(SMALL, tiny_corpus).run
    indices = np.array([5, 3, 140])
    outputs = run.predict(indices)
    assert outputs.indices.tolist() == [5, 3, 140]
    assert {task: values.shape for task, values in outputs.logits.items()} == {"emotion": (3, 3), "speaker": (3, 12)}
    assert np.allclose(run.predict(indices[1:]).embedding, outputs.embedding[1:], atol=1e-5)
    dev = tiny_corpus.part(run.split, "dev")
    assert np.allclose(run.predict(dev).embedding, run.predict(dev[::-1]).embedding[::-1], atol=1e-6)


def test_an_unknown_task_and_an_empty_training_part_are_refused(tiny_corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a task"):
        next(epochs(SMALL.replace(auxiliary={"speeker": 1.0}), tiny_corpus))
    lonely = make_split(tiny_corpus, SMALL)
    object.__setattr__(lonely, "_train", lonely._train[:1])
    with pytest.raises(SplitError, match="at least 2"):
        next(epochs(SMALL, tiny_corpus, split=lonely))


def test_a_task_without_training_labels_is_refused_if_it_is_trained(tmp_path: Path) -> None:
    def clips() -> Iterator[Clip]:
        for clip in tiny_clips():
            part = {"1012": "test", "1011": "dev"}.get(str(clip.labels["speaker"]), "train")
            yield Clip(clip.name, clip.samples, clip.labels | {"part": part, "mood": part if part != "train" else None})

    write_corpus(tmp_path / "unheard.arrow", clips(), name="unheard", synthetic=True, source={})
    corpus = Corpus.open(tmp_path / "unheard.arrow")
    config = SMALL.replace(split="column:part", epochs=1)
    for unheard in ({"main": "mood"}, {"auxiliary": {"mood": 1.0}}):
        with pytest.raises(SplitError, match=r"part of split 'column-part' has 0 class\(es\) of 'mood'; a task needs"):
            next(epochs(config.replace(**unheard), corpus))
    assert "emotion" in final(config.replace(auxiliary={"mood": 0.0}), corpus).losses


@pytest.mark.parametrize("dev_fraction", [0.0, 0.15])
def test_divergence_in_the_last_step_is_told_with_and_without_a_dev_part(tiny_corpus: Corpus, dev_fraction: float) -> None:
    """The losses are of before each step: only what the network says afterwards tells."""
    wild = SMALL.replace(epochs=1, batch_size=32, learning_rate=10.0, weight_decay=10.0, momentum=0.9, dev_fraction=dev_fraction)
    with pytest.raises(DivergedError, match="not finite"):
        list(epochs(wild, tiny_corpus))


def test_divergence_is_told_with_the_epoch_and_the_remedy(tiny_corpus: Corpus) -> None:
    with pytest.raises(DivergedError, match=r"loss is (nan|inf) in epoch \d.*lower learning_rate"):
        list(epochs(SMALL.replace(learning_rate=10.0, momentum=0.99, weight_decay=10.0, epochs=40), tiny_corpus))


# ---- fast ways ------------------------------------------------------------------------------------------------------


def test_bf16_follows_float32(tiny_corpus: Corpus) -> None:
    """The same run in bf16 has the same losses to within its 8 bits."""
    for fast, plain in zip(losses(GENTLE.replace(precision="bf16"), tiny_corpus), losses(GENTLE, tiny_corpus), strict=True):
        assert fast == pytest.approx(plain, rel=0.06)


@pytest.mark.parametrize("weighting", ["fixed", "pcgrad"])
def test_the_fast_way_through_the_network_has_the_plain_ones_losses(
    tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, weighting: str
) -> None:
    config = GENTLE.replace(weighting=weighting)
    monkeypatch.setattr("sermtl.model.LARGE_MAPS", 0)
    fast = losses(config, tiny_corpus)
    monkeypatch.setattr("sermtl.model.Block.fast", False)
    for mine, theirs in zip(fast, losses(config, tiny_corpus), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)
