"""Checkpoint and model files: whole or not at all, and read without unpickling code."""

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from sermtl.errors import CheckpointError
from sermtl.files import existing_file, whole_file

FORMAT = 1


def write_weights(path: Path, values: dict[str, Any]) -> None:
    """Write plain values and tensors, whole or not at all."""
    with whole_file(path) as temporary:
        torch.save({"format": FORMAT, **values}, temporary)


def read_weights(path: Path) -> dict[str, Any]:
    """A checkpoint or model file, its tensors on the CPU. Raises CheckpointError when it is neither."""
    try:
        with zipfile.ZipFile(existing_file(path)) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("packed content, which could unpack to any size")
            if archive.testzip():
                raise ValueError("a checksum in it does not fit")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a stranger's file may hold; it is refused below
            values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint or model file") from None
    except Exception as error:  # damaged bytes make torch.load raise many things
        raise CheckpointError(f"{path}: not a checkpoint or model file, or damaged ({type(error).__name__})") from None
    if not isinstance(values, dict) or not isinstance(values.get("format"), int) or values["format"] != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint or model file of this version (format {FORMAT})")
    return values


def check_same(path: Path, there: dict[str, str], here: dict[str, str]) -> None:
    """Raise CheckpointError naming what a checkpoint's run differs in from this one. Values: 'config' as JSON, others as text."""
    for name, value in here.items():
        if there[name] != value:
            raise CheckpointError(
                f"{path}: is of a run with another {name}{_difference(there[name], value)}; start anew without it"
            )


def _difference(there: str, here: str) -> str:
    """Which knob differs, for two configurations as JSON."""
    if not there.startswith("{"):
        return f" ({there[:12]}, not {here[:12]})"
    old, new = json.loads(there), json.loads(here)
    knob = next(name for name in {**old, **new} if old.get(name) != new.get(name))
    return f" ({knob} = {old.get(knob)!r}, not {new.get(knob)!r})"
