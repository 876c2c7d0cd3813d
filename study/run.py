"""The command: `python -m study.run --space mtl`. Its main reads as the steps of a study."""

import os
import sys
from pathlib import Path

from sermtl.errors import INTERRUPTED, run_command
from study.signals import STOPPED, interruptible, say, stop_in_one_line

if __name__ == "__main__":
    stop_in_one_line()

from study.options import Options, asked_space, check_command, read_options  # isort: skip

if __name__ == "__main__":  # what is imported next takes seconds: a mistake in the command or its space is said before
    if refused := run_command(check_command):
        sys.exit(refused)

from study.cluster import Resources, leave  # isort: skip  # sets Ray's environment before Ray is imported

from rich.console import Console
from rich.status import Status

from sermtl import fetch
from sermtl.corpora.synthetic import default_synthetic
from sermtl.corpus import Corpus
from sermtl.errors import StudyError
from sermtl.files import sweep
from sermtl.masking import mask_secrets
from study.beforehand import opening_lines
from study.clear_lines import clear_lines
from study.confirm import confirm_arms, confirm_runs, run_confirm
from study.cost import Cost, predict_cost
from study.declare import check_same, keep_header, make_header, settle, take_back, with_raised
from study.execute import Interrupted, Outcome, Plan, run_searches
from study.feasible import feasible
from study.forecast import Forecast, Foretold
from study.header import StudyHeader, header_path, read_header, study_name
from study.lock import check_place, lock_study, session_of
from study.packing import measure_space
from study.record import TrialRecord, read_records
from study.report import write_report
from study.shared_store import check_nodes
from study.shell import quoted
from study.space import Space
from study.store import check_server, claim_server
from study.track import Tracker
from study.view import View

CLOSE_S = 30.0  # how long MLflow may take to catch up at the end; what is left waits for the next start
INTERRUPTED_CLOSE_S = 3.0  # the same when a person waits for the prompt


def main(argv: list[str] | None = None) -> int:
    """Run, continue or re-render a study. Returns the exit code; raises UserError for a user's mistake."""
    options = read_options(argv)
    try:
        with interruptible():
            return command(options)
    except (Interrupted, KeyboardInterrupt) as stopped:
        say(str(stopped) or STOPPED)
        return INTERRUPTED


def command(options: Options) -> int:
    """See `main`; raises KeyboardInterrupt when it is interrupted."""
    space = asked_space(options)
    with clear_lines(options.runs):
        corpus = open_corpus(options)
    space = feasible(space, corpus)
    name = study_name(options.name or f"{space.name}-{corpus.name}-{space.size}")
    folder = options.runs / name
    if not options.dry_run:
        check_place(folder)
    resources = find_resources(options, space, corpus)
    if resources.address is not None:
        check_nodes(options.runs, corpus, resources)
    header = make_header(name, space, corpus, describe_device(resources), options.command, options.storage)
    if header_path(folder).exists():  # another study's name is refused before anything is timed
        space, header = with_raised(folder, space, header, check_same(folder, header))
    with waiting("timing a few batches, to tell what the study will take"):
        cost = predict_cost(space, corpus, resources)
    lines = opening_lines(header, folder, space, corpus, resources, cost)
    if options.dry_run:
        print("\n".join([*lines, "dry run: nothing was run"]))
        return 0
    with clear_lines(folder), lock_study(folder):
        if options.storage is not None:  # before the study is noted as being there
            check_server(options.storage, folder, read_header(folder) if header_path(folder).exists() else header)
        sweep(folder)
        begun = header_path(folder).exists()
        header = settle(folder, header)
        if options.storage is not None:
            claim_server(options.storage, folder, header)
            begun = True  # the name is this study's there, which its header alone can tell
        try:
            return run_study(options, header, folder, space, corpus, resources, cost, lines)
        except StudyError:
            if not begun:
                take_back(folder)
            raise


def run_study(
    options: Options,
    header: StudyHeader,
    folder: Path,
    space: Space,
    corpus: Corpus,
    resources: Resources,
    cost: Cost,
    lines: list[str],
) -> int:
    """Search, confirm, report: whatever of it is left to do."""
    view, session = View(), session_of(folder)
    forecast = Forecast(folder, view, foretell(space, cost), read_records(folder))
    tracker = Tracker(folder, header, options.tracking_uri)
    plan = Plan(
        name=header.name,
        folder=folder,
        space=space,
        corpus=corpus,
        resources=resources,
        tracker=tracker,
        view=forecast,
        max_device_hours=options.max_device_hours,
        storage=options.storage,
    )
    patience_s = CLOSE_S
    try:
        view.header(lines)
        tracker.ready()  # an MLflow database that cannot hold the study is refused before anything is spent
        outcome = search_and_confirm(plan, header, view, forecast)
        forecast.write(finished=outcome.finished)
    except (Interrupted, KeyboardInterrupt):
        patience_s = INTERRUPTED_CLOSE_S
        raise
    finally:
        view.close()
        keep_header(folder, header, session)
        forecast.write()
        tracker.close(patience_s)
    page = write_report(folder)
    print("\n".join(closing_lines(options, folder, page, outcome)))
    return 0


def search_and_confirm(plan: Plan, header: StudyHeader, view: View, forecast: Forecast) -> Outcome:
    """Both phases; the second begins only once the first has finished."""
    wanted = forecast.told.wanted
    if plan.space.searched:
        view.phase("search", wanted["search"], ended(plan.folder, "search"), forecast.left_s)
    outcome = run_searches(plan)
    if not outcome.finished:
        return outcome
    view.phase("confirm", wanted["confirm"], ended(plan.folder, "confirm"), forecast.left_s)
    return run_confirm(plan, declared_seeds=header.budget["seeds"])


def foretell(space: Space, cost: Cost) -> Foretold:
    """What is known of a study's length beforehand."""
    budget, arms = space.budget, confirm_arms(space)
    search = {arm.key: budget.runs * budget.searches for arm in space.arms} if space.searched else {}
    confirm = dict.fromkeys(arms, confirm_runs(space) // len(arms))
    return Foretold(round(cost.wall_s, 1), cost.slots, {"search": search, "confirm": confirm}, cost.epochs)


def ended(folder: Path, phase: str) -> list[TrialRecord]:
    """The records that a phase has already."""
    return [record for record in read_records(folder) if record.identity.phase == phase]


def open_corpus(options: Options) -> Corpus:
    """The corpus asked for, or the built-in synthetic one, made once in the studies' folder."""
    if options.corpus is not None:
        return fetch.open_corpus(options.corpus)
    with waiting("making the synthetic corpus"):
        return fetch.open_corpus(default_synthetic(options.runs))


def waiting(what: str) -> Status:
    """A line that says what a person in front of a terminal waits for, and goes when it is done; nothing where stderr is piped."""
    return Console(stderr=True).status(what)


def find_resources(options: Options, space: Space, corpus: Corpus) -> Resources:
    """What a trial takes: a GPU where there is one and none was asked for, or the share that was measured.

    Raises StudyError for more than this machine has.
    """
    if options.address is None:
        check_machine(options)
    cuda = options.device != "cpu" and (options.address is not None or cuda_here())
    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else float(cuda)
    if gpus == "auto":
        packing = measure_space(space, corpus)
        gpus = packing.gpus
        print(f"packing {packing.words}", flush=True)
    device = options.device if options.device != "auto" else ("cuda" if gpus else "cpu")
    return Resources(options.cpus_per_trial, gpus, options.slots, options.address, device)


def check_machine(options: Options) -> None:
    """Raise StudyError for a device or cores that this machine does not have."""
    cores = len(os.sched_getaffinity(0))
    if options.cpus_per_trial > cores:
        raise StudyError(f"--cpus-per-trial {options.cpus_per_trial}: this machine has {cores} core(s); lower it")
    if options.device == "cuda" and options.gpus_per_trial == 0:
        raise StudyError("--device cuda needs a share of a GPU, but --gpus-per-trial is 0; leave one of them out")
    if (options.device == "cuda" or (isinstance(options.gpus_per_trial, float) and options.gpus_per_trial > 0)) and not cuda_here():
        asked = "--device cuda" if options.device == "cuda" else f"--gpus-per-trial {options.gpus_per_trial}"
        raise StudyError(f"{asked}: torch finds no GPU here; leave it out to use the CPU, or name a cluster with --address")


def cuda_here() -> bool:
    import torch

    return torch.cuda.is_available()


def describe_device(resources: Resources) -> str:
    threads = f"{resources.cpus_per_trial} thread{'s' if resources.cpus_per_trial > 1 else ''} a trial"
    if resources.device == "cpu":
        return f"cpu ({threads})"
    import torch

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "the cluster's GPUs"
    return f"cuda: {card} ({resources.gpus_per_trial:g} a trial, {threads})"


def closing_lines(options: Options, folder: Path, page: Path, outcome: Outcome) -> list[str]:
    """Where the report is, and the exact commands that open the two dashboards on this study."""
    python = os.path.relpath(sys.executable)
    bin_folder = Path(python).parent
    storage = options.storage or f"sqlite:///{folder / 'optuna.db'}"
    return [
        *([] if outcome.finished else [f"not finished: {outcome.reason}"]),
        f"report            {page}",
        *mlflow_lines(bin_folder, options.tracking_uri, folder),
        f"Optuna dashboard  {quoted(bin_folder / 'optuna-dashboard', mask_secrets(storage))} --port 8080",
    ]


def mlflow_lines(bin_folder: Path, tracking: str | None, folder: Path) -> list[str]:
    """How to see the runs; MLflow's own first page is about language models."""
    if tracking is not None and tracking.startswith(("http:", "https:")):
        return [f"MLflow UI         {mask_secrets(tracking)}"]
    uri = mask_secrets(tracking or f"sqlite:///{folder / 'mlflow.db'}")
    lines = [f"MLflow UI         {quoted(bin_folder / 'mlflow', 'ui', '--backend-store-uri', uri)} --port 5000"]
    return lines if tracking else [*lines, "                  and then http://127.0.0.1:5000/#/experiments/1/runs"]


if __name__ == "__main__":
    leave(run_command(main))
