"""Draws of the split, and what the analysis of them says of itself."""

from pathlib import Path

import numpy as np

from study.layout import FEW_SHARED, analyse, layout_of
from study.method import analysis_words
from study.results import load_results
from study.tables import contrasts_table
from study.wording import size_words
from tests.fake_study import fake_study


def test_draws_that_share_few_speakers_know_that_they_share_their_seeds() -> None:
    """A seed's own effect is in every draw: with t over the draws' means alone, 60 of 100 intervals would hold the truth."""
    random, held = np.random.default_rng(1), 0
    draws, own, seeds = 5, 6, 3
    splits, numbers = zip(*[(f"draw{draw}", seed) for draw in range(draws) for seed in range(seeds)], strict=True)
    first_of = np.repeat(np.arange(draws), seeds) * (own - 1)  # each draw's last speaker is the next one's first
    speaker = np.arange(draws * (own - 1) + 1)[:, None]
    inside = (speaker >= first_of) & (speaker < first_of + own)
    for _ in range(300):
        cells = random.normal(0, 0.02, (len(speaker), 1)) + np.tile(random.normal(0, 0.02, seeds), draws)
        cells = np.where(inside, cells + random.normal(0, 0.02, cells.shape), np.nan)[None]
        layout = layout_of(cells, splits, numbers, searched=False)
        mean, words, folds = analyse(layout.runs(cells), layout)
        held += mean.interval()[0] <= 0 <= mean.interval()[1]
    assert held / 300 > 0.92
    assert f"5 splits {FEW_SHARED}" in words
    assert folds == 0


def test_many_searches_know_that_they_share_their_seeds() -> None:
    """Searches and seeds vary alike: with either averaged away, 91 of 100 intervals would hold the truth."""
    random, held = np.random.default_rng(1), 0
    searches, speakers, seeds = 20, 10, 20
    for _ in range(300):
        effects = random.normal(0, 0.01, (searches, 1, 1)) + random.normal(0, 0.01, (1, 1, seeds))
        cells = effects + random.normal(0, 0.003, (1, speakers, 1)) + random.normal(0, 0.01, (searches, speakers, seeds))
        layout = layout_of(cells, ("a",) * seeds, tuple(range(seeds)))
        mean, _, _ = analyse(layout.runs(cells), layout)
        held += mean.interval()[0] <= 0 <= mean.interval()[1]
    assert held / 300 > 0.92


def test_the_page_says_how_draws_that_share_few_speakers_were_analysed(tmp_path: Path) -> None:
    splits = tuple(f"speaker-s{draw}" for draw in range(3))
    fake_study(tmp_path, trials=2, seeds=3, speakers=9, splits=splits, shared=1, searches=3, confirm=("mtl", "control"))
    results = load_results(tmp_path)
    assert f"3 searches {FEW_SHARED}" in results.questions[0].contrast.method
    said = "Of the primary contrast two intervals are computed: a t over split means, and crossed random effects (split × seed)."
    assert said in analysis_words(results)


def test_draws_that_share_no_speaker_are_called_splits_and_not_folds(tmp_path: Path) -> None:
    """Nothing says that every speaker is in one of them."""
    splits = ("speaker-s0", "speaker-s1")
    fake_study(tmp_path, trials=2, seeds=3, speakers=6, splits=splits, searches=2, confirm=("mtl", "control"))
    results = load_results(tmp_path)
    found = results.questions[0].contrast
    assert size_words(found) == "12 speakers in 2 splits × 3 seeds"
    assert "2 splits that share no speaker" in found.method
    assert "a t over split means" in analysis_words(results)
    assert contrasts_table(results.questions[0]).columns[-1] == "speakers (splits) × seeds × searches a split"
    folds = (found.method, analysis_words(results), *contrasts_table(results.questions[0]).columns)
    assert "fold" not in " ".join(folds).replace("`--folds`", "")


def test_a_fold_that_lacks_a_seed_is_said_wherever_sizes_are(tmp_path: Path) -> None:
    folds = tuple(f"speaker-s0-fold{k}of3" for k in range(3))
    fake_study(
        tmp_path, trials=2, seeds=4, speakers=4, splits=folds, searches=3, confirm=("mtl", "control"), questions=("emotion",)
    )
    place = "emotion.mtl/confirm-1/speaker-s0-fold1of3-seed1002"
    (tmp_path / "predictions" / place / "clips.parquet").unlink()
    question = load_results(tmp_path).questions[0]
    assert size_words(question.contrast) == "12 speakers in 3 folds × 3 to 4 seeds"
    assert contrasts_table(question).rows[0].cells[-1] == "12 (3) × 3 to 4 × 1"
    assert "bootstrap over folds, each one's speakers and searches, and seeds" in analysis_words(load_results(tmp_path))
    (tmp_path / "predictions" / place.replace("1002", "1003") / "clips.parquet").unlink()
    found = load_results(tmp_path).questions[0].contrast
    assert found.reason == "2 seeds in both arms in one fold or more; an interval needs at least 3"


def test_of_one_split_the_page_says_that_its_training_speakers_are_given(tmp_path: Path) -> None:
    said = []
    for name, splits in (("one", ("speaker-s0",)), ("two", ("speaker-s0", "speaker-s1"))):
        fake_study(tmp_path / name, trials=2, seeds=3, speakers=8, splits=splits, searches=len(splits), confirm=("mtl", "control"))
        said.append("these training speakers" in analysis_words(load_results(tmp_path / name)))
    assert said == [True, False]
