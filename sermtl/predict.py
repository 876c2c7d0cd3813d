"""A trained model and an audio file -> classes with probabilities.

A clip longer than the model's clip_s is cut as in evaluation: at its centre, or at `evaluation_cuts` places.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sermtl.audio import read_audio
from sermtl.batches import cut, cut_start
from sermtl.checkpoint import read_weights
from sermtl.config import RunConfig, make_config
from sermtl.defects import examine
from sermtl.device import pick_device
from sermtl.errors import CheckpointError, ConfigError, CorpusError, DivergedError, Parser, one_line
from sermtl.features import FrontEnd
from sermtl.forward import evaluation_places, mean_logits
from sermtl.model import VGGVox
from sermtl.pcm import SAMPLE_RATE_HZ

SHOWN_CLASSES = 6  # of a task, in the printed text
SHOWN_MODELS = 3  # of a folder's
DEEPEST = 4  # folders from a study's to a model: checkpoints, the arm's, the search's, the run's


class Predictor:
    """A trained network that takes waveforms.

    config, classes (task -> names in the order of the head's outputs), corpus (name, checksum, synthetic) are the model file's.
    """

    def __init__(
        self, config: RunConfig, classes: dict[str, list[str]], corpus: dict[str, Any], weights: dict[str, Any], device: str
    ):
        self.config, self.classes, self.corpus = config, classes, corpus
        self.device = torch.device(device)
        self._front_end = FrontEnd(config).to(self.device)
        self._network = _network(config, {task: len(names) for task, names in classes.items()}, weights).to(self.device)
        self._network.eval()

    @torch.inference_mode()
    def all_probabilities(self, waveform: NDArray[np.int16]) -> dict[str, dict[str, float]]:
        """Task -> class -> probability of one waveform (n,) int16, 16 kHz mono, n >= 1. Tasks in the model's order.

        Raises DivergedError for a model whose weights are finite, but not what comes of them.
        """
        if waveform.ndim != 1 or waveform.dtype != np.int16 or len(waveform) == 0:
            raise ValueError(f"a waveform is a non-empty (n,) int16 array, but got {waveform.dtype} {waveform.shape}")
        size = self.config.clip_samples
        places = torch.tensor(evaluation_places(self.config.evaluation_cuts if len(waveform) > size else 1))
        lengths = torch.full_like(places, len(waveform))
        starts = cut_start(lengths, size, places)
        waves, valid = cut(torch.from_numpy(waveform.copy()), starts, lengths.clamp(max=size), size, self.config.padding)
        logits, _ = self._network(*self._front_end(waves.to(self.device), valid.to(self.device)))
        means = {task: mean_logits(list(values)).exp().tolist() for task, values in logits.items()}
        if not all(math.isfinite(value) for values in means.values() for value in values):
            raise DivergedError("the model's probabilities are not finite: its run has diverged; lower the learning rate")
        return {task: dict(zip(names, means[task], strict=True)) for task, names in self.classes.items()}

    def probabilities(self, waveform: NDArray[np.int16]) -> dict[str, float]:
        """Class -> probability of the main task, for one waveform (n,) int16, 16 kHz mono."""
        return self.all_probabilities(waveform)[self.config.main]

    def predict_file(self, path: Path) -> dict[str, dict[str, float]]:
        """Task -> class -> probability of one audio file: any format libsndfile reads, any rate, any channels.

        Raises CorpusError naming the file when it is missing, empty, silent or not audio.
        """
        return self.all_probabilities(read_sound(path))


def _network(config: RunConfig, classes: dict[str, int], weights: dict[str, Any]) -> VGGVox:
    """The network with these weights. It takes memory for what the file holds only, whatever sizes its configuration claims.

    Raises RuntimeError or ValueError for weights that do not fit, or are not finite.
    """
    with torch.device("meta"):
        network = VGGVox(config, classes, drawn=False)
    kinds = {name: tensor.dtype for name, tensor in network.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    for name, tensor in network.state_dict().items():
        if tensor.dtype != kinds[name] or tensor.untyped_storage().nbytes() < tensor.nbytes or not tensor.isfinite().all():
            raise ValueError(f"the weights {name} are {tensor.dtype}, fewer than they claim, or not finite")
    return network


def _checked(values: dict[str, Any]) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The file's classes and corpus. Raises TypeError when they are not what `Run.export` writes."""
    classes, corpus = dict(values["classes"]), dict(values["corpus"])
    for task, names in classes.items():
        if not isinstance(task, str) or not isinstance(names, list) or not names or any(not isinstance(n, str) for n in names):
            raise TypeError(f"its classes of {task!r} are not names")
    if not isinstance(corpus["name"], str) or not isinstance(corpus["synthetic"], bool):
        raise TypeError("it does not say which corpus it learned from")
    return classes, corpus


def load_model(path: Path, device: str = "cpu") -> Predictor:
    """The model in a file that `Run.export` or `Run.save` wrote. Raises CheckpointError when it cannot be used."""
    values = read_weights(path)
    try:
        config = make_config(json.loads(values["config"]), str(path))
        classes, corpus = _checked(values)
        if list(classes) != list(config.tasks):
            raise ValueError(f"it has heads for {', '.join(classes)}, but its tasks are {', '.join(config.tasks)}")
        return Predictor(config, classes, corpus, values["network"], device)
    except ConfigError as error:
        raise CheckpointError(f"{path}: made by another version: {error}") from None
    except (LookupError, AttributeError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path}: not a model of this version ({error})") from None


def model_in(given: Path) -> Path:
    """The file that is given; of a folder, a run's or a study's, its only model. Raises CheckpointError for none or several."""
    if not given.is_dir():
        return given
    for depth in range(DEEPEST + 1):
        if found := sorted(given.glob("*/" * depth + "model.pt")):
            break
    else:
        raise CheckpointError(f"{given}: a folder without a model.pt; give the model file, or the folder of a run that has ended")
    if len(found) > 1:
        shown = ", ".join(str(path.relative_to(given)) for path in found[:SHOWN_MODELS])
        more = f" and {len(found) - SHOWN_MODELS} more" if len(found) > SHOWN_MODELS else ""
        raise CheckpointError(f"{given}: a folder of {len(found)} models; give one of them: {shown}{more}")
    return found[0]


def read_sound(path: Path) -> NDArray[np.int16]:
    """An audio file with something in it: (n,) int16, 16 kHz mono. Raises CorpusError naming the file."""
    return heard(path)[0]


def heard(path: Path) -> tuple[NDArray[np.int16], list[str]]:
    """An audio file with something in it, and what is doubtful about it, for which `prepare` might not take it."""
    try:
        samples, remark = read_audio(path)
    except CorpusError as error:
        remedy = "" if ";" in str(error) else "; give an audio file (WAV, FLAC, Ogg, MP3, ...)"
        raise CorpusError(f"{path}: {str(error).rstrip('.')}{remedy}") from None
    if len(samples) == 0:
        raise CorpusError(f"{path}: holds no samples; give an audio file with sound in it")
    if (samples == samples[0]).all():
        remedy = "give an audio file with sound in it (channels are averaged)"
        raise CorpusError(f"{path}: is silent (every sample is {samples[0]}); {remedy}")
    flaw = examine(samples)
    return samples, [*([f"{flaw[0]}: {flaw[1]}"] if flaw else []), *([remark] if remark else [])]


def main(argv: list[str]) -> int:
    """`python -m sermtl predict MODEL FILE...`: the first file that cannot be used ends it with an error."""
    parser = Parser("python -m sermtl predict", description="Print the classes of audio files with probabilities.")
    parser.add_argument("model", type=Path, help="model.pt of `sermtl train` or of a study's run, its checkpoint, or its folder")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="audio file: WAV, FLAC, Ogg, MP3, ..., any rate")
    parser.add_argument("--json", action="store_true", help="one JSON object a file, all classes")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute [%(default)s]")
    arguments = parser.parse_args(argv)
    model = model_in(arguments.model)
    predictor = load_model(model, pick_device(arguments.device))
    if model.parent != arguments.model and model != arguments.model and not arguments.json:
        print(f"note: the model is {one_line(str(model))}")
    if predictor.corpus["synthetic"] and not arguments.json:
        print(f"note: this model learned from synthetic speech ({predictor.corpus['name']})")
    for path in arguments.files:
        samples, notes = heard(path)
        by_task = predictor.all_probabilities(samples)
        seconds = len(samples) / SAMPLE_RATE_HZ
        print(as_json(path, seconds, by_task, notes) if arguments.json else as_text(path, seconds, by_task, notes))
    return 0


def ranked(by_class: dict[str, float]) -> list[str]:
    """Classes, the most probable first."""
    return sorted(by_class, key=lambda name: by_class[name], reverse=True)


def as_text(path: Path, seconds: float, by_task: dict[str, dict[str, float]], notes: list[str]) -> str:
    """What is doubtful, and one line per task: its most probable classes, best first."""
    lines = [f"{one_line(str(path))} ({seconds:.2f} s)", *(f"  note: {note}" for note in notes)]
    for task, by_class in by_task.items():
        best = ranked(by_class)[:SHOWN_CLASSES]
        lines.append(f"  {task:<10} " + "  ".join(f"{one_line(name)} {by_class[name]:.1%}" for name in best))
    return "\n".join(lines)


def as_json(path: Path, seconds: float, by_task: dict[str, dict[str, float]], notes: list[str]) -> str:
    """{file, duration_s, notes, tasks: {task: {predicted, probabilities}}}."""
    tasks = {task: {"predicted": ranked(by_class)[0], "probabilities": by_class} for task, by_class in by_task.items()}
    return json.dumps({"file": str(path), "duration_s": round(seconds, 3), "notes": notes, "tasks": tasks}, ensure_ascii=False)
