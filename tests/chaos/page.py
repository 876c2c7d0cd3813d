"""docs/chaos.md: campaigns as they went, each from its own run; docs/chaos.json holds them, so that one can be run again."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sermtl.files import write_text
from study.declare import versions
from tests.chaos.campaign import Tally

FOLDERS = re.compile(r"(?<![\w.])/(?:[^/\s\"']+/)+")
SHOWN = ("code", "ray", "optuna", "mlflow")
# What OptunaSearch + ASHAScheduler + MLflowLoggerCallback get wrong, and the test that this does not.
USUAL = (
    ("a trial that is stopped early is COMPLETE in Optuna", "test_execute.py::test_search_tells_every_ending_truly"),
    (
        "a score that is no number leaves its trial RUNNING for ever",
        "test_execute.py::test_troubled_trials_fail_with_their_reason_and_a_killed_worker_resumes",
    ),
    ("a killed driver's study cannot be restored", "test_execute.py::test_an_interrupted_driver_is_continued_by_the_same_command"),
    ("a failed trial that is resumed has two runs", "test_track.py::test_an_interrupted_run_goes_on_as_the_same_run"),
    ("rungs are empty after a restore", "test_prune.py::test_a_new_driver_knows_the_rungs_of_the_one_before"),
    ("MLflow holds duplicates after a kill", "test_track.py::test_a_killed_driver_leaves_no_duplicate"),
    ("a call to MLflow per score", "test_track.py::test_a_run_takes_a_handful_of_calls_however_many_scores_it_has"),
    ("no parent run", "test_track.py::test_parents_hold_the_runs_of_an_arm"),
    ("a run that was stopped early is FINISHED", "test_track.py::test_an_early_end_is_no_finish"),
    ("runs stay RUNNING after success, or after a signal", "test_run.py::test_nothing_is_left_running_in_any_store"),
    ("no id is shared by the stores", "test_run.py::test_every_run_ended_once_with_its_files"),
    ("trials that nobody runs are not found", "test_search.py::test_orphans_come_first_under_their_own_numbers"),
    ("a reused process keeps memory, generators and switches", "test_trial.py::test_a_reused_process_starts_clean"),
    ("SQLite's writer and readers wait for each other", "test_store.py::test_the_database_waits_for_nobody_and_is_backed_up_whole"),
)


def keep(folder: Path, options: str, tally: Tally) -> Path:
    """Add a campaign to the page, in place of an earlier one with the same options. Returns the page's path."""
    path = folder / "chaos.json"
    campaigns: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    campaigns[options] = {
        "on": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": {name: version for name, version in versions().items() if name in SHOWN},
        "blows": dict(sorted(tally.blows.items())),
        "starts": tally.starts,
        "studies": tally.studies,
        "promises": {promise: [count, len(wrong)] for promise, (count, wrong) in tally.found.items()},
        "broken": [f"{promise}: {_short(what)}" for promise, (_, wrong) in tally.found.items() for what in wrong],
    }
    write_text(path, json.dumps(campaigns, indent=1) + "\n")
    write_text(folder / "chaos.md", "\n".join(_lines(campaigns)) + "\n")
    return folder / "chaos.md"


def _short(what: str) -> str:
    """What was found, on one line, without the folders of the machine that it was found on."""
    return FOLDERS.sub("", " ".join(what.split()))[-300:]


def _lines(campaigns: dict[str, Any]) -> Iterator[str]:
    blows: Counter[str] = Counter()
    looked: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for campaign in campaigns.values():
        blows.update(campaign["blows"])
        for promise, (count, wrong) in campaign["promises"].items():
            looked[promise] += count
            broken[promise] += wrong
    yield f"""# {blows.total()} blows

Written by `python -m tests.chaos ... --out docs`: a small study is started by its command over and over and killed each time, in
named windows of its code, at random moments, by signals, or only its workers, or MLflow's server is under it; when it has ended,
its stores are read from outside. With `--real` networks are trained; else quick stand-ins report epochs in their place.

| campaign | on | blows | starts | studies | promises broken | |
| --- | --- | ---: | ---: | ---: | ---: | --- |"""
    for options, campaign in campaigns.items():
        counts = [sum(campaign["blows"].values()), campaign["starts"], campaign["studies"], len(campaign["broken"])]
        used = ", ".join(f"{name} {version}" for name, version in campaign["versions"].items())
        yield f"| `{options}` | {campaign['on']} | {' | '.join(map(str, counts))} | {used} |"
    yield "\n| promise | looked at | broken |\n| --- | ---: | ---: |"
    yield from (f"| {promise} | {looked[promise]:,} | {broken[promise]} |" for promise in looked)
    for options, campaign in campaigns.items():
        yield from (f"\n**Not as promised** (`{options}`): {what}" for what in campaign["broken"])
    yield f"\nThe blows: {', '.join(f'{count} {name}' for name, count in sorted(blows.items()))}."
    yield "\nWhat the usual combination of Ray Tune, Optuna and MLflow gets wrong, and the test that holds it here:"
    yield "\n| there | test |\n| --- | --- |"
    yield from (f"| {what} | `tests/{test}` |" for what, test in USUAL)
