"""What lies in a study's folder and is not the study's: another study's files, and runs that this one cannot have."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from study.header import StudyHeader, planned_runs
from study.identity import CONFIRM_SEEDS, Identity


def strange_run(header: StudyHeader, run: Identity, look: int = 1, seeds: int = 0) -> str | None:
    """Why a study cannot have had that run, None where it can.

    look: a confirm run's; seeds: confirm seeds per arm after the last look, where known; those of the header are the least.
    """
    searches = int(header.budget.get("searches", 1))
    ways = {f"{question.name}.{way}" for question in header.questions for way in ("mtl", "control")}
    if run.study != header.name:
        return f"is of study {run.study!r}, not of {header.name!r}"
    if run.arm not in (ways if run.phase == "search" else header.confirm):
        return f"is of arm {run.arm!r}, which the study does not {run.phase}"
    if not 0 <= run.search < searches:
        return f"is of search {run.search} of {searches}, counted from 0"
    if run.split not in {split.id for split in header.splits}:
        return f"is on split {run.split!r}, which the study does not have"
    if run.split not in (own := _splits_of(header, run)):
        return f"is on split {run.split!r}, and search {run.search}, counted from 0, is on {own[0]!r}"
    if run.phase == "search":
        return _beyond("trial", run.number, _most_trials(header))
    if run.seed not in CONFIRM_SEEDS:
        return f"has seed {run.seed}, and confirm runs have {CONFIRM_SEEDS.start} to {CONFIRM_SEEDS.stop - 1}"
    declared, number = int(header.budget["seeds"]), run.seed - CONFIRM_SEEDS.start + 1  # the seeds begin one after the other
    if look == 1 and number > declared:
        return f"has seed {run.seed} in the first look, whose last seed is {CONFIRM_SEEDS.start + declared - 1}"
    looked_at = max(seeds, declared, number)
    return _beyond("confirm run", run.number, planned_runs(header, looked_at) * len(header.confirm))


def _most_trials(header: StudyHeader) -> int:
    """More runs no search has: its trials, and reruns, which it may have of other finalists whenever --trials was raised."""
    trials, (finalists, reruns) = int(header.budget["trials"]), header.finalists
    return trials * (1 + finalists * reruns)


def _splits_of(header: StudyHeader, run: Identity) -> list[str]:
    """The splits of a search, and of its winners' confirm runs: see `Space.search_split` and `Space.confirm_splits`."""
    splits = [split.id for split in header.splits]
    if header.budget.get("nested", True):
        return [splits[run.search % len(splits)]]
    return splits[:1] if run.phase == "search" else splits


def unnoted_seed(run: Identity, looks: Sequence[int]) -> str | None:
    """Why a confirm run is of no look that `opened.json` tells of, None where it is. looks: seeds per arm; () where not known."""
    if run.phase != "confirm" or not looks or run.seed - CONFIRM_SEEDS.start < max(looks):
        return None
    return f"has seed {run.seed}, and opened.json tells of {max(looks)} for each arm, from {CONFIRM_SEEDS.start} on"


def _beyond(what: str, number: int, most: int) -> str | None:
    """Optuna would be given all the trials before it."""
    return None if 0 <= number < most else f"is {what} {number} of {most}, counted from 0"


def whose(header: StudyHeader | None) -> dict[str, str]:
    """What a note of the test part says of its study: name and moment, since another folder's may have the same name."""
    return {} if header is None else {"study": header.name, "begun": header.created}


def strange_note(header: StudyHeader, told: Mapping[str, Any]) -> str | None:
    """Why such a note is not this study's, None where it is or where it does not say whose it is."""
    own = whose(header)
    if all(told.get(key, value) == value for key, value in own.items()):
        return None
    return f"is of study {told.get('study')!r} begun {told.get('begun')}, not of {header.name!r} begun {header.created}"


def strange_table(header: StudyHeader, table: pa.Table) -> str | None:
    """Why a table of predictions is not this study's, None where it is or where it does not say whose it is."""
    told, run = said_of(table), run_of(table)
    if run is not None and run.study != header.name:
        return f"is of study {run.study!r}, not of {header.name!r}"
    if told.get("checksum", header.corpus.checksum) != header.corpus.checksum:
        return f"is of another corpus ({str(told['checksum'])[:12]}, not {header.corpus.checksum[:12]})"
    return None


def run_of(table: pa.Table) -> Identity | None:
    """Whose predictions a table holds, None where it does not say."""
    try:
        return Identity(**said_of(table)["identity"])
    except (KeyError, TypeError):
        return None


def said_of(table: pa.Table) -> dict[str, Any]:
    """What a table says of itself: identity, corpus, checksum. {} where it says nothing that can be read."""
    try:
        return dict(json.loads((table.schema.metadata or {}).get(b"sermtl", b"{}")))
    except (ValueError, TypeError):
        return {}
