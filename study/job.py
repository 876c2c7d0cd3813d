"""What the driver and a worker say to each other: a job down, reports up, both as JSON text.

A worker may outlive its driver, or be cut off and replaced, and go on all the same. So a file that it makes of a run has a
name of that attempt, and becomes the run's when the driver that hears of it says so; its checkpoint, of which no driver
hears, it keeps only while it is the run's last attempt.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from study.identity import Identity


@dataclass(frozen=True)
class Workplace:
    """What all trials of a start share.

    device        'auto', 'cpu' or 'cuda'; threads: torch's, per trial
    session       the driver's session: a worker whose driver has been replaced touches nothing any more
    checkpoint_s  a checkpoint is due after an epoch or this long, whichever is longer
    gpus          GPUs a trial takes
    epochs        the training generator, 'module:function' with the signature of sermtl.train.epochs
    code          digest of the driver's source files, '' on one machine: a node must have the same
    """

    folder: str
    corpus: str
    checksum: str
    device: str
    threads: int
    session: str = ""
    checkpoint_s: float = 30.0
    epochs: str = "sermtl.train:epochs"
    code: str = ""
    gpus: float = 0.0

    @property
    def shared(self) -> bool:
        """Whether several trials share a GPU."""
        return 0 < self.gpus < 1


@dataclass(frozen=True)
class Job:
    """What a worker needs to know of one trial.

    rungs     epochs after which it waits for the driver's word
    value     the score that is its value, None where the split has no dev part
    gpus      GPUs this attempt takes; None for what every trial takes
    attempt   a worker's own name for its attempt, which no other has
    keep      keep the trained model when its final value is this or more; None keeps none
    rerun_of  the trial whose setting this one runs again, or None
    finish    'module:function' called with (job, corpus, run) after the last epoch: confirm runs only
    """

    identity: Identity
    config: dict[str, Any]
    params: dict[str, Any]
    value: str | None
    place: Workplace
    rungs: tuple[int, ...] = ()
    exempt: bool = False
    keep: float | None = None
    look: int = 1
    finish: str | None = None
    gpus: float | None = None
    attempt: str = ""
    rerun_of: int | None = None

    @property
    def label(self) -> str:
        return self.identity.folder

    @property
    def epochs(self) -> int:
        return int(self.config["epochs"])

    @property
    def folder(self) -> Path:
        """Where the run keeps its checkpoint."""
        return checkpoint_folder(Path(self.place.folder), self.identity)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        values = json.loads(text)
        identity, place = Identity(**values.pop("identity")), Workplace(**values.pop("place"))
        return cls(**{**values, "identity": identity, "place": place, "rungs": tuple(values["rungs"])})


@dataclass
class Report:
    """What a worker tells the driver.

    rows      epoch rows the driver may not have yet; after a resume all of them
    state     'running', 'complete', 'failed' with a reason, 'crowded': the GPU's memory ran out, 'unwritable': the study's
              folder takes no more files, or 'unsuited': this node does not see what the driver sees
    saved     epochs that are in the checkpoint; those after it are run again should the worker die
    note      what befell the trial and its ending does not tell, or None
    device_s  seconds the trial has held its device, earlier attempts included
    result    what the job's `finish` returned
    model     SHA-256 of the model file that the trial left, or None
    attempt   whose files they are (`left_by`)
    """

    rows: list[dict[str, float]]
    state: str = "running"
    reason: str | None = None
    saved: int = 0
    note: str | None = None
    device_s: float = 0.0
    host: str = ""
    device: str = ""
    result: dict[str, Any] | None = None
    confusion: dict[str, list[list[int]]] | None = None
    model: str | None = None
    attempt: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Report":
        return cls(**json.loads(text))


def checkpoint_folder(study_folder: Path, identity: Identity) -> Path:
    return study_folder / "checkpoints" / identity.folder


def left_by(attempt: str, path: Path) -> Path:
    """Where an attempt leaves the file that is to be its run's `path`."""
    return path.with_name(f".{path.name}.{attempt}.part")
