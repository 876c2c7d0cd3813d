"""The winner as MLflow serves it: this file is the model's code (models-from-code), the weights lie beside it, unpickled.

A request is a table with one row per recording and one of two columns:

    audio     the bytes of an audio file in any format libsndfile reads (WAV, FLAC, OGG, ...), as base64 text
    samples   a list of numbers in [-1, 1]: mono at 16 kHz

The answer has one row per recording: the main task's class under the task's name, and `p_CLASS` for each class.

    mlflow models predict -m "models:/STUDY-ARM@winner" -i request.json --env-manager local
    request.json: {"dataframe_records": [{"audio": "UklGR..."}]}
"""

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray


class ServedModel(PythonModel):
    """Audio in, class probabilities of the main task out."""

    def load_context(self, context: Any) -> None:
        from sermtl.predict import load_model

        self.predictor = load_model(Path(context.artifacts["model"]), "cpu")

    def predict(self, context: Any, model_input: pandas.DataFrame, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """A table of `audio` or `samples` → one dict of class and probabilities a row. Raises ValueError naming a bad row."""
        answers: list[dict[str, Any]] = []
        for number, row in enumerate(model_input.to_dict("records")):
            by_class = self.predictor.probabilities(_waveform(number, row))
            best = max(by_class, key=lambda name: by_class[name])
            answers.append({self.predictor.config.main: best} | {f"p_{name}": value for name, value in by_class.items()})
        return answers


def _waveform(number: int, row: dict[str, Any]) -> NDArray[np.int16]:
    """One request row as 16 kHz mono int16: (samples,)."""
    audio, samples = row.get("audio"), row.get("samples")
    if isinstance(audio, str) and audio:
        return decode(number, audio)
    values = np.asarray(samples if samples is not None else [], dtype=np.float64).ravel()
    if not values.size or not np.isfinite(values).all():
        raise ValueError(f"row {number}: needs `audio` (base64 of an audio file) or `samples` (finite numbers, mono, 16 kHz)")
    if np.abs(values).max() > 1:
        raise ValueError(f"row {number}: samples must be between -1 and 1 inclusive, but got {np.abs(values).max():g}")
    return np.round(values * 32767).astype(np.int16)


def decode(number: int, text: str) -> NDArray[np.int16]:
    """Base64 of an audio file → 16 kHz mono int16: (samples,), read as `sermtl predict` reads files."""
    from sermtl.errors import CorpusError
    from sermtl.predict import read_sound

    with tempfile.NamedTemporaryFile(suffix=".audio") as file:
        try:
            file.write(base64.b64decode(text, validate=True))
            file.flush()
            return read_sound(Path(file.name))
        except (binascii.Error, CorpusError) as error:
            reason = str(error).removeprefix(f"{file.name}: ")
            raise ValueError(f"row {number}: `audio` is not the base64 text of an audio file ({reason})") from None


set_model(ServedModel())
