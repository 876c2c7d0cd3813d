"""Every knob of one run: unit, bound, default (the paper's value) and source.

The knobs are one flat namespace, so that a search space, a TOML file, an MLflow parameter and an error message
all call a knob by the same name. `RunConfig()` is the paper's recipe A with the speaker task on.

`Deviation:` marks where a default differs from the paper's reading; there is none at present.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from sermtl.errors import ConfigError, did_you_mean
from sermtl.files import existing_file
from sermtl.pcm import SAMPLE_RATE_HZ

LONGEST_TOML_BYTES = 2**16  # TOML takes time that grows with the square of a dotted key
MOST_EPOCHS = 10_000  # of one run
LABEL_NAME = r"\w[\w -]{0,63}"  # of a corpus' column
NAMED_SPLITS = ("speaker", "sentence", "tfds", "paper")
SPLITS = (*NAMED_SPLITS, "group:COLUMN", "column:COLUMN")

Weighting = Literal["fixed", "scale", "uncertainty", "dwa", "random", "pcgrad", "adversarial"]


class RunConfig(BaseModel):
    """One run's settings. Frozen; unknown keys are refused; every field has a bound.

    Sources: [P] the paper (Schrama), [V] VGGVox (Nagrani 2017), which makes the paper's sizes come out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # ---- tasks -------------------------------------------------------------------------------------------------
    main: str = Field("emotion", description="the task to be helped")
    auxiliary: dict[str, float] = Field(
        default_factory=lambda: {"speaker": 1.0},
        description="auxiliary task -> loss weight w in [0, 100]; 1 is the paper's sum, none is the control [P]",
    )
    weighting: Weighting = Field("fixed", description="how task losses become one loss; fixed is L_main + sum w L_aux [P]")
    placebo: Literal["none", "permuted", "permuted_within"] = Field(
        "none", description="permute the training clips' auxiliary labels: across all clips, or within sex x sentence"
    )

    # ---- front end ---------------------------------------------------------------------------------------------
    clip_s: float = Field(4.0, ge=0.5, le=20, description="length of audio the network sees, s [P]")
    window_ms: float = Field(25.0, ge=5, le=100, description="Hamming window, ms [V]")
    hop_ms: float = Field(10.0, ge=2, le=100, description="hop between frames, ms [V]")
    n_fft: int = Field(1024, ge=64, le=8192, description="FFT length, samples; the first `bins` bins are kept")
    bins: int = Field(512, ge=16, le=4096, description="frequency bins the network sees [P]")
    frequency_scale: Literal["linear", "mel"] = Field("linear", description="linear bins [P], or mel bands made of them")
    frames: int = Field(400, ge=16, le=4096, description="frames the network sees; short ones zero-padded, long ones cut [P]")
    detrend: bool = Field(True, description="subtract each frame's mean before the window, as SciPy's spectrogram does [P: unsaid]")
    centred: bool = Field(False, description="pad half a window at both ends: 401 frames of 4 s, else 398")
    amplitude: Literal["magnitude", "power", "log"] = Field("magnitude", description="what a bin holds [P: unsaid]")
    normalise: Literal["waveform", "bin", "none"] = Field(
        "waveform", description="mean/variance over the waveform [P], or over time per frequency bin [V]"
    )
    padding: Literal["zero", "repeat", "masked"] = Field("zero", description="what fills a clip shorter than clip_s [P: zero]")
    evaluation_cuts: int = Field(
        1,
        ge=1,
        le=5,
        description="1, 3 or 5 cuts of a clip longer than clip_s, averaged in evaluation; 1: its centre [P: unsaid]",
    )

    # ---- network -----------------------------------------------------------------------------------------------
    width: float = Field(1.0, gt=0, le=4, description="multiplies every layer's filters [P: 1]")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the heads, probability [P: none]")

    # ---- training ----------------------------------------------------------------------------------------------
    epochs: int = Field(60, ge=1, le=MOST_EPOCHS, description="passes over the training part [P]")
    batch_size: int = Field(64, ge=2, le=4096, description="clips a step [P]")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="SGD with momentum [P], or AdamW")
    learning_rate: float = Field(0.01, gt=0, le=10, description="peak learning rate [P]")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD momentum [P]; AdamW's first beta")
    weight_decay: float = Field(5e-4, ge=0, le=10, description="L2 penalty (SGD) [P], decoupled decay (AdamW)")
    schedule: Literal["step", "cosine", "onecycle", "constant"] = Field("step", description="learning-rate schedule [P: step]")
    step_fraction: float = Field(
        1 / 3, gt=0, le=1, description="step: share of the epochs between drops [P: 20 of 60; B: 30 of 50]"
    )
    step_gamma: float = Field(0.1, gt=0, le=1, description="step: factor at each drop [P]")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing of every task's cross entropy [P: none]")
    time_mask: float = Field(0.0, ge=0, le=0.5, description="SpecAugment: widest masked share of the frames [P: none]")
    frequency_mask: float = Field(0.0, ge=0, le=0.5, description="SpecAugment: widest masked share of the bins [P: none]")
    mixup: float = Field(
        0.0, ge=0, le=8, description="mixup: alpha of the Beta that two clips' shares come from; 0 is none [P: none]"
    )
    gradient_clip: float = Field(0.0, ge=0, le=1e6, description="largest gradient norm; 0 is no limit [P: none]")
    precision: Literal["auto", "float32", "bf16"] = Field("auto", description="auto is bf16 where the device multiplies it fast")
    seed: int = Field(0, ge=0, lt=2**31, description="initial weights, order, crops, dropout, masks and mixup")

    # ---- split -------------------------------------------------------------------------------------------------
    split: str = Field(
        "speaker",
        description="speaker: speaker-disjoint; sentence: sentence-disjoint; tfds: its list; paper: its 67/24 without a dev part; "
        "group:COLUMN: whole groups of speakers, by a label of theirs; column:COLUMN: the corpus' own train, dev and test",
    )
    split_seed: int = Field(0, ge=0, lt=2**31, description="which draw of the split")
    folds: int = Field(0, ge=0, le=100, description="0: one test draw; k >= 2: grouped k-fold")
    fold: int = Field(0, ge=0, le=99, description="which fold is the test part, 0 to folds - 1")
    test_fraction: float = Field(
        24 / 91, gt=0, lt=0.9, description="share of the speakers, or groups, in the test part [P: 24 of 91]"
    )
    dev_fraction: float = Field(
        0.15,
        ge=0,
        lt=0.9,
        description="share of the remaining speakers in the dev part [P: none named]; ignored by 'paper', and by a column with dev",
    )
    train_on_dev: bool = Field(
        False, description="train on the dev part too, once the settings are chosen; there are then no dev scores [P: no dev part]"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what Python takes for 0 and 1: `epochs = true` would be one epoch."""
        values = value.values() if isinstance(value, dict) else [value]
        if cls.model_fields[str(info.field_name)].annotation not in (bool, str) and any(isinstance(item, bool) for item in values):
            raise ValueError("true and false are no numbers")
        return value

    @field_validator("auxiliary")
    @classmethod
    def _weights_in_bounds(cls, weights: dict[str, float]) -> dict[str, float]:
        for task, weight in weights.items():
            if not 0 <= weight <= 100:
                raise ValueError(f"the weight of {task!r} must be between 0 and 100 inclusive, but got {weight}")
        return dict(sorted(weights.items()))

    @field_validator("split")
    @classmethod
    def _known_split(cls, split: str) -> str:
        if split not in NAMED_SPLITS and not re.fullmatch(f"(group|column):{LABEL_NAME}", split):
            raise ValueError(f"must be one of {', '.join(SPLITS)}")
        return split

    @field_validator("evaluation_cuts")
    @classmethod
    def _evenly_spaced(cls, cuts: int) -> int:
        if cuts % 2 == 0:
            raise ValueError("must be 1, 3 or 5, so that the cuts are evenly spaced")
        return cuts

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        if self.main in self.auxiliary:
            # said in full: who names the speaker as the main task has not written down that it is auxiliary by default
            raise ValueError(f"{self.main!r} is the main task; it cannot be auxiliary too; give auxiliary = {{}} for none")
        if self.frequency_scale == "linear" and self.bins > self.n_fft // 2 + 1:
            raise ValueError(f"bins = {self.bins} needs n_fft of at least {2 * (self.bins - 1)}, but got {self.n_fft}")
        if self.window_samples > self.n_fft:
            raise ValueError(f"a window of {self.window_samples} samples does not fit n_fft = {self.n_fft}; raise n_fft")
        if self.folds == 1 or self.fold >= max(self.folds, 1):
            raise ValueError(f"folds must be 0 or at least 2 and fold below it, but got folds = {self.folds}, fold = {self.fold}")
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """The main task, then the auxiliary ones by name."""
        return (self.main, *self.auxiliary)

    @property
    def clip_samples(self) -> int:
        return round(self.clip_s * SAMPLE_RATE_HZ)

    @property
    def window_samples(self) -> int:
        return round(self.window_ms * SAMPLE_RATE_HZ / 1000)

    @property
    def hop_samples(self) -> int:
        return round(self.hop_ms * SAMPLE_RATE_HZ / 1000)

    def replace(self, **changes: Any) -> "RunConfig":
        """A validated copy with some knobs changed. Raises ConfigError."""
        return make_config({**self.model_dump(), **changes})


def split_by(split: str) -> tuple[str, str]:
    """A split's kind and the column that it goes by: 'group', 'session' of 'group:session'; 'speaker', '' of 'speaker'."""
    kind, _, column = split.partition(":")
    return kind, column


def make_config(values: dict[str, Any], where: str = "configuration") -> RunConfig:
    """Validate plain values into a RunConfig.

    Raises ConfigError naming `where`, the knob, the value and the remedy.
    """
    for key in values:
        if key not in RunConfig.model_fields:
            raise ConfigError(f"{where}: {key!r} is not a knob{did_you_mean(key, list(RunConfig.model_fields))}")
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error)}") from None


def check_value(knob: str, value: Any, where: str) -> None:
    """Raise ConfigError naming `where` when the value alone, whatever the other knobs say, is not of the knob's kind and bounds."""
    try:
        RunConfig.model_validate({knob: value})
    except ValidationError as error:
        if error.errors()[0]["loc"]:  # else it does not fit the other knobs' defaults, which may be others here
            raise ConfigError(f"{where}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """Pydantic's first complaint as one line: the key, what is wrong, the value."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return message
    got = "" if ", but got " in message else f", but got {first['input']!r}"
    return f"{key}: {message[0].lower()}{message[1:]}{got}"


def read_config(path: Path) -> RunConfig:
    """Read one run's TOML file. Raises ConfigError naming the file."""
    return make_config(read_toml(path), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as plain values. Raises ConfigError naming the file and what is wrong with it."""
    try:
        if existing_file(path).stat().st_size > LONGEST_TOML_BYTES:
            raise ConfigError(f"{path}: longer than {LONGEST_TOML_BYTES:,} bytes; give the path of a TOML file")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a TOML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # a whole number of thousands of digits, or tables nested as deep
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def write_config(config: RunConfig) -> str:
    """The TOML text of a configuration, each knob with its description; `read_config` gives it back equal."""
    lines, tables = [], []
    for name, field in RunConfig.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, dict):
            tables += ["", f"[{name}]  # {field.description}"]
            tables += [f"{_toml(key)} = {_toml(item)}" for key, item in value.items()]
        else:
            lines.append(f"{name} = {_toml(value)}  # {field.description}")
    return "\n".join(lines + tables) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # a JSON string is a TOML basic string, but for DEL, which TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
