"""The command line of `python -m study.run`: every option, its default, and what it is turned into."""

import argparse
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sermtl.config import SPLITS
from sermtl.errors import Parser, StudyError
from sermtl.files import no_folder
from sermtl.masking import mask_argument
from study.database import absolute
from study.header import check_folder, study_name
from study.mlflow_connection import check_uri
from study.space import Space, read_space, shipped_spaces
from study.space_file import SIZES
from study.temporary import check_drawing, check_temporary

AUTO = "auto"


MOST = {"trials": 100_000, "seeds": 1000, "searches": 100, "slots": 100_000, "cpus_per_trial": 10_000, "draws": 1000}


@dataclass(frozen=True)
class Options:
    """A validated command line; see `parser()` for what each option means."""

    space: str
    size: str
    corpus: str | None
    name: str | None
    runs: Path
    budget: dict[str, int]
    fixed: dict[str, Any]
    draws: tuple[dict[str, Any], ...]
    nested: bool
    cpus_per_trial: int
    gpus_per_trial: float | Literal["auto"] | None
    slots: int | None
    address: str | None
    device: str
    max_device_hours: float | None
    tracking_uri: str | None
    storage: str | None
    dry_run: bool
    command: str


def parser() -> Parser:
    made = Parser(
        prog="python -m study.run",
        description="Search each question's arms, confirm the winners on fresh seeds, report the contrast. "
        "The same command continues an interrupted study; a finished one only renders its report again.",
    )
    what = made.add_argument_group("what is studied")
    what.add_argument("--space", default="mtl", help=f"a shipped space ({', '.join(shipped_spaces())}) or a TOML's path")
    what.add_argument("--size", choices=SIZES, help="the space's size; default: small on the synthetic corpus, else full")
    what.add_argument("--corpus", help="an Arrow file of `sermtl prepare`, or its URI; default: the built-in synthetic corpus")
    what.add_argument("--name", help="the study's name; default: space, corpus and size")
    what.add_argument("--set", action="append", default=[], metavar="KNOB=VALUE", help="fix a knob in every run; repeatable")
    budget = made.add_argument_group("budget")
    budget.add_argument("--trials", type=int, help="search trials per arm")
    budget.add_argument("--seeds", type=int, help="confirm seeds; more of them later are a further look")
    budget.add_argument("--searches", type=int, help="repeat search and confirm, so that the verdict covers the search too")
    budget.add_argument("--max-device-hours", type=float, help="begin no further trial once this much is spent")
    split = made.add_argument_group("split")
    split.add_argument("--split", help=f"{', '.join(SPLITS)}; default: the space's own, or speaker")
    split.add_argument("--split-seed", type=int, help="which draw of the split")
    split.add_argument("--draws", type=int, default=1, help="confirm on this many draws of the split")
    split.add_argument("--folds", type=int, default=0, help="grouped k-fold over all speakers")
    split.add_argument("--not-nested", action="store_true", help="search the first draw alone: cheaper, labelled, no verdict")
    where = made.add_argument_group("where it runs")
    where.add_argument("--cpus-per-trial", type=int, default=1, help="CPU cores a trial takes (default 1)")
    where.add_argument(
        "--gpus-per-trial",
        type=_gpus,
        help="GPUs a trial takes, may be a fraction, or `auto`: measured; default: 1 where there is one",
    )
    where.add_argument("--slots", type=int, help="trials at once; default: as many as fit")
    where.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: cuda where there is one")
    where.add_argument("--address", help="a Ray cluster's address; `auto` on a node of it")
    where.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the studies (default runs)")
    where.add_argument("--tracking-uri", help="an MLflow server or database; default: SQLite in the study's folder")
    where.add_argument("--storage", help="Optuna's database, postgresql+psycopg://USER@HOST/NAME; default: SQLite in the folder")
    made.add_argument("--dry-run", action="store_true", help="print what would run and its predicted cost, and stop")
    return made


def _gpus(text: str) -> float | str:
    return text if text == AUTO else float(text)


def read_options(argv: list[str] | None = None) -> Options:
    """Parse and check a command line. Raises StudyError; argparse's own complaints exit with 2."""
    args = parser().parse_args(argv)
    for name, most in MOST.items():
        value = getattr(args, name)
        if value is not None and not 1 <= value <= most:
            bound = "at least 1" if value < 1 else f"at most {most}"
            raise StudyError(f"--{name.replace('_', '-')} must be {bound}, but got {value}")
    for name in ("gpus_per_trial", "max_device_hours"):
        value = getattr(args, name)
        if value not in (None, AUTO) and not 0 <= value < 1e6:
            raise StudyError(f"--{name.replace('_', '-')} must be 0 or more, but got {value}")
    check_folder(args.runs)
    if why := no_folder(args.runs, write=False):  # what must be writable is the study's folder, perhaps that alone
        raise StudyError(f"--runs {args.runs}: {why}; mend that, or choose another --runs")
    if args.name is not None:
        study_name(args.name)
    return Options(
        space=args.space,
        size=args.size or ("small" if args.corpus is None else "full"),
        corpus=args.corpus,
        name=args.name,
        runs=args.runs,
        budget={key: getattr(args, key) for key in ("trials", "seeds", "searches") if getattr(args, key) is not None},
        fixed=_fixed(args),
        draws=_checked_draws(args),
        nested=not args.not_nested,
        cpus_per_trial=args.cpus_per_trial,
        gpus_per_trial=args.gpus_per_trial,
        slots=args.slots,
        address=args.address,
        device=args.device,
        max_device_hours=args.max_device_hours,
        tracking_uri=None if args.tracking_uri is None else check_uri(args.tracking_uri),
        storage=None if args.storage is None else absolute(args.storage),
        dry_run=args.dry_run,
        command=shlex.join(["python", "-m", "study.run", *map(mask_argument, sys.argv[1:] if argv is None else argv)]),
    )


def asked_space(options: Options) -> Space:
    """The space file, with what the command line changes of it. Raises SpaceError, ConfigError or StudyError."""
    return read_space(
        options.space, options.size, budget=options.budget, fixed=options.fixed, draws=options.draws, nested=options.nested
    )


def check_command() -> None:
    """Raise what is wrong with this process's command line or the space it names, as far as they alone can tell."""
    asked_space(read_options())
    check_temporary()
    check_drawing()


def _fixed(args: argparse.Namespace) -> dict[str, Any]:
    """Knobs fixed on the command line."""
    fixed: dict[str, Any] = {}
    for text in args.set:
        knob, equals, value = text.partition("=")
        if not equals:
            raise StudyError(f"--set {text!r} has no '='; write it as --set width=0.25")
        try:
            fixed[knob.strip()] = json.loads(value)
        except ValueError:
            fixed[knob.strip()] = value.strip()
    if args.split is not None:
        fixed["split"] = args.split
    if args.split_seed is not None:
        fixed["split_seed"] = args.split_seed
    return fixed


def _checked_draws(args: argparse.Namespace) -> tuple[dict[str, Any], ...]:
    """The draws, none of whose knobs is set for all of them too."""
    draws, option = _draws(args), "--folds" if args.folds else "--draws"
    for text in args.set:
        if (knob := text.partition("=")[0].strip()) in draws[0]:
            raise StudyError(f"--set {text}: {option} sets {knob} for each draw; leave one of them out")
    return draws


def _draws(args: argparse.Namespace) -> tuple[dict[str, Any], ...]:
    """Split knobs of each draw: one, several seeds, or the folds of a grouped k-fold."""
    if args.folds and args.draws > 1:
        raise StudyError("--folds and --draws are two ways to vary the split; choose one")
    if args.folds:
        if not 2 <= args.folds <= 100:
            raise StudyError(f"--folds must be at least 2 and at most 100, but got {args.folds}")
        return tuple({"folds": args.folds, "fold": fold} for fold in range(args.folds))
    if args.draws > 1:
        first = args.split_seed or 0
        return tuple({"split_seed": first + draw} for draw in range(args.draws))
    return ({},)
