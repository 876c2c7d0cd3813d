"""A finished study's folder made of simulated numbers: header, records, predictions, pairs, baselines, opened.

Nothing is trained. Every speaker has an own level, every run an own deviation, and MTL a gain of `effect`, so the
report and the statistics can be tried on a study whose truth is known.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sermtl.config import RunConfig
from sermtl.tasks import age_band
from sermtl.verification import balanced_accuracy, equal_error_rate
from study.baselines import write_baselines
from study.header import CorpusHeader, QuestionHeader, SplitHeader, StudyHeader, write_header
from study.identity import Identity
from study.opened import Opened, write_opened
from study.record import TrialRecord, write_record

EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
SENTENCES = ("DFA", "IEO", "IOM", "ITH", "IWW", "TIE")
AUXILIARY = {"emotion": ("speaker",), "speaker": ("emotion",)}
OBJECTIVE = {"emotion": "emotion_uar", "speaker": "speaker_verification"}
CONFIRM = ("mtl", "control", "mtl-recipe-alone", "control-recipe-helped", "placebo", "placebo-within")
HAS_TASK = {"mtl": 1.0, "control-recipe-helped": 1.0, "placebo": 0.1}  # share of the effect an arm has
RUNGS = (3, 6)
EPOCHS = 9


@dataclass(frozen=True)
class Fake:
    """What is simulated. `effect` is MTL's gain as a share; `speakers` is the number of test speakers of a split, of which
    it shares `shared` with the next."""

    folder: Path
    name: str
    seeds: int
    speakers: int
    trials: int
    searches: int
    effect: float
    splits: tuple[str, ...]
    random: np.random.Generator
    shared: int = 0
    finalists: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)  # of confirm runs

    def test_speakers(self, split: str) -> list[str]:
        """Splits share no test speakers, as folds do, or some, as draws do."""
        first = 1001 + (self.speakers - self.shared) * self.splits.index(split)
        return [str(first + k) for k in range(self.speakers)]


def fake_study(
    folder: Path,
    seeds: int = 5,
    speakers: int = 12,
    trials: int = 12,
    effect: float = 0.05,
    synthetic: bool = True,
    *,
    questions: tuple[str, ...] = ("emotion", "speaker"),
    searches: int = 1,
    splits: tuple[str, ...] = ("speaker-s0",),
    confirm: tuple[str, ...] = CONFIRM,
    nested: bool = True,
    name: str = "fake",
    seed: int = 2,
    shared: int = 0,
    finalists: int = 0,
) -> StudyHeader:
    """Write a finished study to `folder` and return its header. trials = 0: nothing searched, fixed recipes.

    Of several `splits` each shares `shared` test speakers with the next; nested, each repetition of the search belongs to
    one of them. The best `finalists` settings of a search are run again twice.
    """
    fake = Fake(folder, name, seeds, speakers, trials, searches, effect, splits, np.random.default_rng(seed), shared, finalists)
    header = _header(fake, synthetic, questions, confirm, nested)
    write_header(folder, header)
    for question in questions:
        for search in range(searches):
            for arm in ("mtl", "control")[: 2 * bool(trials)]:
                _search(fake, question, arm, search, splits[search % len(splits) if nested else 0])
            for split in (splits[search % len(splits)],) if nested else splits:
                levels = {speaker: fake.random.normal(0, 0.08) for speaker in fake.test_speakers(split)}
                for arm in confirm:
                    for run_seed in range(1000, 1000 + seeds):
                        _confirm(fake, question, arm, search, split, run_seed, levels)
    baselines = {"emotion": {"chance": 1 / 6, "duration_only": 0.21}, "speaker": {"chance": 0.5, "duration_only": 0.537}}
    write_baselines(folder, dict.fromkeys(splits, baselines))
    write_opened(folder, Opened(opened="2026-01-02T03:04:05+00:00", by="confirm"))
    return header


def _header(fake: Fake, synthetic: bool, questions: tuple[str, ...], confirm: tuple[str, ...], nested: bool) -> StudyHeader:
    budget = {
        **{"trials": fake.trials, "seeds": fake.seeds, "searches": fake.searches, "startup": 5},
        **{"rungs": list(RUNGS), "keep": 0.5, "exempt": 0.1, "nested": nested, "finalists": fake.finalists, "reruns": 2},
    }
    return StudyHeader(
        name=fake.name,
        space_name="mtl" if fake.trials else "paper",
        space={"title": "Emotion and speaker: does one help the other?", "draws": [{} for _ in fake.splits], "nested": nested},
        size="small",
        questions=tuple(QuestionHeader(q, q, AUXILIARY[q], OBJECTIVE[q], 0.02) for q in questions),
        corpus=CorpusHeader(
            "fake", "fake.arrow", "f" * 64, synthetic, 72 * 3 * fake.speakers, 3 * fake.speakers, 0.5, {"reader": "fake"}
        ),
        splits=tuple(SplitHeader(split, {"test": _part(fake.test_speakers(split))}) for split in fake.splits),
        budget=budget,
        confirm=tuple(f"{q}.{arm}" for q in questions for arm in confirm),
        versions={"code": "0123456789ab", "python": "3.11.0", "numpy": np.__version__},
        device="cpu (1 thread a trial)",
        command="python -m study.run --space mtl",
        created="2026-01-01T00:00:00+00:00",
    )


def _part(speakers: list[str]) -> dict[str, Any]:
    return {"clips": 72 * len(speakers), "speakers": speakers}


# ---- search --------------------------------------------------------------------------------------------------------


def _search(fake: Fake, question: str, arm: str, search: int, split: str) -> None:
    """Trials whose score peaks at a learning rate of 0.01 and a weight of 0.5; half are pruned at the first rung."""
    reached: list[float] = []
    complete: list[TrialRecord] = []
    for number in range(fake.trials):
        params = {
            "learning_rate": float(10 ** fake.random.uniform(-3, -1)),
            "dropout": float(fake.random.uniform(0, 0.5)),
            "schedule": str(fake.random.choice(["step", "cosine"])),
        }
        if arm == "mtl":
            params[f"weight_{AUXILIARY[question][0]}"] = float(10 ** fake.random.uniform(-1.5, 0.5))
        rows = _epochs(fake, question, arm, params)
        exempt, failed = number % 10 == 4, number % 12 == 7
        pruned = not exempt and not failed and bool(reached) and rows[RUNGS[0] - 1]["value"] < np.median(reached)
        reached.append(rows[RUNGS[0] - 1]["value"])
        rows = rows[: 2 if failed else RUNGS[0] if pruned else EPOCHS]
        reason = "loss is nan at epoch 3" if failed else f"below the best half at epoch {RUNGS[0]}" if pruned else None
        state = "FAILED" if failed else "PRUNED" if pruned else "COMPLETE"
        identity = Identity(fake.name, f"{question}.{arm}", number, "search", split, 0, search)
        config = _config(question, arm, params)
        ended = f"2026-01-01T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}+00:00"
        value = None if reason else rows[-1]["value"]
        spent_s = 1.5 * len(rows)
        record = TrialRecord(identity, state, value, params, config, rows, spent_s, reason, exempt, ended=ended, device="cpu")
        write_record(fake.folder, record)
        complete += [record] if state == "COMPLETE" else []
    best = sorted(complete, key=lambda record: -(record.value or 0.0))[: fake.finalists]
    for place, first in enumerate(best * 2):
        who = replace(first.identity, number=fake.trials + place)
        rows = _epochs(fake, question, arm, first.params)
        again = {"identity": who, "value": rows[-1]["value"], "epochs": rows, "exempt": True, "rerun_of": first.identity.number}
        write_record(fake.folder, replace(first, **again))


def _config(question: str, arm: str, params: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    task = AUXILIARY[question][0]
    helped = arm in ("mtl", "control-recipe-helped", "placebo", "placebo-within")
    weights = {task: params.get(f"weight_{task}", 0.5)} if helped else {}
    placebo = {"placebo": "permuted", "placebo-within": "permuted_within"}.get(arm, "none")
    knobs = {key: value for key, value in params.items() if not key.startswith("weight_")}
    return RunConfig(main=question, auxiliary=weights, epochs=EPOCHS, seed=seed, placebo=placebo, **knobs).model_dump()


def _epochs(fake: Fake, question: str, arm: str, params: dict[str, Any]) -> list[dict[str, float]]:
    weight = params.get(f"weight_{AUXILIARY[question][0]}", 0.0)
    peak = 0.55 - 0.06 * abs(np.log10(params["learning_rate"]) + 2) + (0.03 - 0.02 * abs(np.log10(weight / 0.5)) if weight else 0.0)
    rows = []
    for epoch in range(1, EPOCHS + 1):
        score = float(peak * (1 - 0.6 * np.exp(-epoch / 3)) + fake.random.normal(0, 0.01))
        eer = float(0.45 - 0.3 * (peak - 0.3) * (1 - np.exp(-epoch / 4)) + fake.random.normal(0, 0.005))
        row = {
            "epoch": float(epoch),
            "value": score if question == "emotion" else 1 - eer,
            "learning_rate": params["learning_rate"],
        }
        row |= {"seconds_train": 1.2, "seconds_evaluate": 0.3, "loss_total": 2.0 - score, f"loss_{question}": 1.8 - score}
        row |= {"emotion_accuracy": score + 0.005, "emotion_uar": score}
        row |= {"speaker_eer": eer, "speaker_verification": 1 - eer, "speaker_accuracy": 1 - eer}
        if weight:
            row |= {f"weight_{AUXILIARY[question][0]}": weight, f"loss_{AUXILIARY[question][0]}": 3.0 - score}
        rows.append(row)
    return rows


# ---- confirm -------------------------------------------------------------------------------------------------------


def _confirm(fake: Fake, question: str, arm: str, search: int, split: str, seed: int, levels: dict[str, float]) -> None:
    identity = Identity(fake.name, f"{question}.{arm}", next(fake.numbers), "confirm", split, seed, search)
    gain = fake.effect * HAS_TASK.get(arm, 0.0) + fake.random.normal(0, 0.01)
    heads = {question} | ({AUXILIARY[question][0]} if arm in ("mtl", "control-recipe-helped") else set())
    clips = _clips(fake, split, levels, gain, heads)
    pairs = _pairs(fake, split, levels, gain if "speaker" in heads else 0.0)
    params = {"learning_rate": 0.01, "dropout": 0.1, "schedule": "step"}
    folder = fake.folder / "predictions" / identity.folder
    folder.mkdir(parents=True, exist_ok=True)
    about = {b"sermtl": json.dumps({"identity": asdict(identity), "checksum": "f" * 64, "synthetic": True}).encode()}
    pq.write_table(clips.replace_schema_metadata(about), folder / "clips.parquet")
    pq.write_table(pairs.replace_schema_metadata(about), folder / "pairs.parquet")
    relative = f"predictions/{identity.folder}"
    record = TrialRecord(
        identity=identity,
        state="COMPLETE",
        value=0.5,
        params={},
        config=_config(question, arm, params, seed),
        epochs=_epochs(fake, question, arm, params),
        device_s=14.0,
        test_scores=_scores(clips, pairs),
        predictions=f"{relative}/clips.parquet",
        pairs=f"{relative}/pairs.parquet",
        started="2026-01-02T00:00:00+00:00",
        ended="2026-01-02T00:00:20+00:00",
        device="cpu",
    )
    write_record(fake.folder, record)


def _clips(fake: Fake, split: str, levels: dict[str, float], gain: float, heads: set[str]) -> pa.Table:
    rows = [(s, e, t) for s in fake.test_speakers(split) for t in SENTENCES for e in EMOTIONS for _ in range(2)]
    speaker, emotion, sentence = (np.array(column) for column in zip(*rows, strict=True))
    number = speaker.astype(int)
    table = {
        "clip": [f"{s}_{t}_{e}_{k}" for k, (s, e, t) in enumerate(rows)],
        "speaker": speaker,
        "emotion": emotion,
        "sentence": sentence,
        "level": np.where(sentence == "IEO", np.array(["LO", "MD", "HI"])[np.arange(len(rows)) % 3], "XX"),
        "sex": np.where(number % 2 == 0, "female", "male"),
        "age": [str(20 + 7 * (n % 8)) for n in number],
        "age_band": [age_band(str(20 + 7 * (n % 8))) for n in number],
        "duration_s": fake.random.uniform(1.3, 4.0, len(rows)),
    }
    if "emotion" in heads:
        level = np.array([levels[s] for s in speaker])
        right = fake.random.random(len(rows)) < np.clip(0.5 + level + gain, 0.05, 0.95)
        other = (np.searchsorted(EMOTIONS, emotion) + fake.random.integers(1, 6, len(rows))) % 6
        predicted = np.where(right, emotion, np.array(EMOTIONS)[other])
        table |= {"emotion_true": emotion, "emotion_predicted": predicted}
        table |= {f"emotion_p_{e}": np.where(predicted == e, 0.5, 0.1).astype(np.float32) for e in EMOTIONS}
    if "speaker" in heads:  # a closed set of training speakers, none of them here
        table |= {"speaker_true": speaker, "speaker_predicted": np.full(len(rows), "9999")}
    return pa.table(table)


def _pairs(fake: Fake, split: str, levels: dict[str, float], gain: float) -> pa.Table:
    """30 same and 30 different pairs anchored on each speaker."""
    speakers = fake.test_speakers(split)
    anchor = np.repeat(np.arange(len(speakers)), 60)
    same = np.arange(len(anchor)) % 2 == 0
    other = np.where(same, anchor, (anchor + fake.random.integers(1, len(speakers), len(anchor))) % len(speakers))
    level = np.array([levels[s] for s in speakers])
    score = fake.random.normal(np.where(same, 0.45 + 2 * gain + level[anchor], 0.3), 0.15).astype(np.float32)
    sex = np.array([int(s) % 2 for s in speakers])
    names = np.array(speakers)
    return pa.table(
        {
            "clip_a": [f"{names[a]}_DFA_ANG_{k}" for k, a in enumerate(anchor)],
            "clip_b": [f"{names[b]}_IEO_SAD_{k}" for k, b in enumerate(other)],
            "speaker_a": names[anchor],
            "speaker_b": names[other],
            "same": same,
            "same_emotion": fake.random.random(len(anchor)) < 0.2,
            "same_sex": sex[anchor] == sex[other],
            "duration_matched": fake.random.random(len(anchor)) < 0.3,
            "duration_a_s": np.full(len(anchor), 2.5),
            "duration_b_s": np.full(len(anchor), 2.4),
            "score": score,
            "threshold": np.full(len(anchor), 0.375, dtype=np.float32),
            "accepted": score >= np.float32(0.375),
        }
    )


def _scores(clips: pa.Table, pairs: pa.Table) -> dict[str, float]:
    same, score = pairs["same"].to_numpy(), pairs["score"].to_numpy()
    eer = equal_error_rate(same, score)[0]
    scores = {"speaker_eer": eer, "speaker_verification": 1 - eer, "speaker_threshold": 0.375}
    scores["speaker_accuracy"] = balanced_accuracy(same, pairs["accepted"].to_numpy())
    if "emotion_true" in clips.column_names:
        true, predicted = (np.array(clips[f"emotion_{kind}"].to_pylist()) for kind in ("true", "predicted"))
        recalls = {f"emotion_recall_{e}": float((predicted == true)[true == e].mean()) for e in EMOTIONS}
        scores |= {
            "emotion_accuracy": float((true == predicted).mean()),
            "emotion_uar": float(np.mean(list(recalls.values()))),
        } | recalls
    return scores
