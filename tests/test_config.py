"""The knobs: defaults are the paper's, wrong values are refused by name, TOML goes round unchanged."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sermtl.config import RunConfig, make_config, read_config, write_config
from sermtl.errors import ConfigError


def test_defaults_are_the_papers_recipe_a() -> None:
    config = RunConfig()
    assert (config.epochs, config.batch_size, config.momentum, config.weight_decay) == (60, 64, 0.9, 5e-4)
    assert (config.learning_rate, config.schedule, round(config.step_fraction * config.epochs)) == (0.01, "step", 20)
    assert (config.clip_samples, config.window_samples, config.hop_samples) == (64_000, 400, 160)
    assert (config.bins, config.frames, config.tasks, config.auxiliary) == (512, 400, ("emotion", "speaker"), {"speaker": 1.0})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"lerning_rate": 0.1}, "'lerning_rate' is not a knob; did you mean 'learning_rate'?"),
        ({"learning_rate": -1}, "learning_rate: input should be greater than 0, but got -1"),
        ({"epochs": "many"}, "epochs: input should be a valid integer"),
        ({"learning_rate": float("nan")}, "learning_rate: input should be a finite number"),
        ({"auxiliary": {"speaker": -1}}, "weight of 'speaker' must be between 0 and 100 inclusive, but got -1.0"),
        ({"main": "speaker"}, "'speaker' is the main task; it cannot be auxiliary too; give auxiliary = {} for none"),
        ({"epochs": True}, "epochs: true and false are no numbers, but got True"),
        ({"auxiliary": {"speaker": True}}, "auxiliary: true and false are no numbers"),
        ({"bins": 600}, "needs n_fft of at least 1198"),
        ({"window_ms": 100.0}, "raise n_fft"),
        ({"folds": 5, "fold": 5}, "fold below it"),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(values, "my.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("my.toml: ")
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("but got") <= 1


@given(
    weights=st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda t: t != "emotion"), st.floats(0, 100), max_size=3),
    rate=st.floats(1e-9, 10),
    epochs=st.integers(1, 10_000),
)
def test_toml_goes_round_unchanged(weights: dict[str, float], rate: float, epochs: int) -> None:
    import tomllib

    config = make_config({"auxiliary": weights, "learning_rate": rate, "epochs": epochs})
    assert make_config(tomllib.loads(write_config(config))) == config


def test_a_file_is_read_or_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(write_config(RunConfig(seed=3)))
    assert read_config(path) == RunConfig(seed=3)
    path.write_text("seed = ")
    with pytest.raises(ConfigError, match=r"run\.toml: not valid TOML"):
        read_config(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        read_config(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)


def test_every_knob_is_described_and_bounded() -> None:
    for name, field in RunConfig.model_fields.items():
        assert field.description, name
        assert field.annotation not in (int, float) or field.metadata, f"{name} has no bound"
