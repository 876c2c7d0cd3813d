"""What a corpus file says of itself (JSON in its schema), and of which kind its columns are: checked before it is believed."""

import json
import re
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sermtl.config import LABEL_NAME, explain
from sermtl.errors import CorpusError

METADATA_KEY = b"sermtl"
DEMOGRAPHICS = ("sex", "age", "race", "ethnicity")
STANDARD_LABELS = ("speaker", "emotion", "sentence", "level", *DEMOGRAPHICS)  # in this order in the file, others after by name
RESERVED_COLUMNS = ("clip", "samples")
FORMAT = 1  # raised when an older reader could no longer read the file
LONGEST_NAME = 200  # characters of a corpus' name
TAKEN = {  # label names that something else is called by
    "clip": "the clip's name",
    "samples": "its sound",
    "decay": "the knob weight_decay",
    "total": "the loss of all tasks",
}

Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Rate(_Part):
    """How often listeners were right."""

    votes: Count
    right: Count
    accuracy: float | None


class Votes(Rate):
    """Human listeners' votes on the corpus' clips, by the emotion that was acted."""

    per_emotion: dict[str, Rate]


class Found(_Part):
    """A defect that `sermtl prepare` found."""

    clip: str
    kind: str
    detail: str
    action: str


class Source(_Part):
    """How the corpus was made: whatever its reader noted."""

    notes: list[str] = []


class About(_Part):
    """format, name, synthetic, source, defects, votes, checksum: see `corpus.write_corpus`."""

    format: Count
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    synthetic: bool
    source: Source
    defects: list[Found]
    votes: Votes | None
    checksum: str = Field(pattern="^[0-9a-f]{64}$")


def read_about(text: bytes, where: str) -> dict[str, Any]:
    """A corpus file's metadata, checked, as plain values. Raises CorpusError for a newer format, ValueError for anything else."""
    try:
        about = About.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"what it says of itself is wrong: {explain(error)}") from None
    if about.format > FORMAT:
        raise CorpusError(f"{where}: written in format {about.format}, but this version reads up to {FORMAT}; update sermtl")
    values: dict[str, Any] = json.loads(text)
    return values


def check_batch(batch: pa.RecordBatch) -> None:
    """Read all of a corpus file's columns once and see that they are what `corpus.py` says. Raises ValueError, ArrowException."""
    batch.validate(full=True)
    kind, holes = batch.schema.field("samples").type, batch.column("samples").values.null_count
    if kind != pa.large_list(pa.int16()) or holes or not len(batch):
        raise ValueError("no samples in it")
    for field in (field for field in batch.schema if field.name not in ("clip", "samples")):
        if field.type != pa.string():
            raise ValueError(f"its labels {field.name!r} are {field.type}, not text")
        check_label(field.name)


def check_label(name: str) -> str:
    """A label column's name, which tasks, scores and knobs are named after. Raises CorpusError."""
    if name in TAKEN:
        raise CorpusError(f"a label cannot be called {name!r}: that is {TAKEN[name]}; rename the column")
    if not re.fullmatch(LABEL_NAME, name):
        raise CorpusError(f"{name[:80]!r} is not a label's name; use up to 64 letters, digits, spaces, '_' and '-', a letter first")
    return name
