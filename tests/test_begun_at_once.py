"""Two studies of one name that begin on one empty database at once: one has the name, the other one is told so, or has its own.

python -m tests.test_begun_at_once optuna|mlflow FOLDER URL     begins a study in FOLDER once a line comes in
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sermtl.errors import StudyError
from study.header import read_header, write_header
from study.mlflow_runs import MlflowRuns
from study.store import Database, TrialBook, claim_server, open_storage
from study.winner_model import model_name
from tests.postgres import Postgres, postgres, postgres_server
from tests.tracked import make_header

__all__ = ["postgres", "postgres_server"]


def two(folder: Path, url: str) -> list[Path]:
    """The folders of two studies called toy, on two hosts."""
    folders = [folder / host / "toy" for host in ("one", "other")]
    for day, study in enumerate(folders, start=1):
        write_header(study, make_header(name="toy", created=f"2026-01-0{day}T00:00:00+00:00", storage=url))
    return folders


def at_once(store: str, folders: list[Path], url: str) -> list[str]:
    """What each of them says, when they begin at one moment."""
    command = [sys.executable, "-m", "tests.test_begun_at_once", store]
    begun = [
        subprocess.Popen(
            [*command, str(folder), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for folder in folders
    ]
    for process in begun:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in begun:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate() for process in begun]
    assert [error for _, error in said] == ["", ""]
    return [text.strip() for text, _ in said]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes the URL of a database that nobody has used."""
    if request.param == "sqlite":
        made = iter(range(9))
        return lambda: f"sqlite:///{tmp_path}/shared-{next(made)}.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database


def test_of_two_studies_begun_at_once_one_has_the_name_in_optuna_s_database(tmp_path: Path, empty: Callable[[], str]) -> None:
    url = empty()
    begun, refused = sorted(at_once("optuna", two(tmp_path, url), url))
    assert begun == "begun"
    assert refused.startswith("the database holds 'toy/confirm' of another study, begun 2026-01-0")
    assert "; give this one another --name, or `python -m study.doctor /" in refused


def test_of_two_studies_begun_at_once_one_has_the_name_in_mlflow(tmp_path: Path, empty: Callable[[], str]) -> None:
    url = empty()
    folders = two(tmp_path, url)
    first, second = sorted(at_once("mlflow", folders, url))
    assert first.startswith("toy-2026010")
    assert second == "toy-emotion.mtl"
    for folder in folders:  # and both find their own again
        MlflowRuns(folder, read_header(folder), url, create=False)


def test_an_optuna_study_belongs_to_who_notes_it_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the making of an Optuna study and the noting of whose it is, another study comes."""
    url = f"sqlite:///{tmp_path}/shared.db"
    one, other = two(tmp_path, url)
    make = Database.create_new_study

    def make_and_be_overtaken(self: Database, *given: object) -> int:
        monkeypatch.setattr(Database, "create_new_study", make)
        made = make(self, *given)  # type: ignore[arg-type]
        TrialBook(open_storage(other, url), "toy/a")
        return made

    monkeypatch.setattr(Database, "create_new_study", make_and_be_overtaken)
    with pytest.raises(StudyError, match="holds 'toy/a' of another study, begun 2026-01-02"):
        TrialBook(open_storage(one, url), "toy/a")
    TrialBook(open_storage(other, url), "toy/a")


def test_a_name_is_one_study_s_whatever_the_two_search(tmp_path: Path) -> None:
    """Else each would be refused where the other was first, and neither could go on."""
    url = f"sqlite:///{tmp_path}/shared.db"
    one, other = two(tmp_path, url)
    claim_server(url, one, read_header(one))
    with pytest.raises(StudyError, match="holds 'toy/confirm' of another study, begun 2026-01-01"):
        claim_server(url, other, read_header(other))
    claim_server(url, one, read_header(one))


def main(store: str, folder: Path, url: str) -> None:
    header = read_header(folder)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        if store == "optuna":
            claim_server(url, folder, header)
            print("begun")
        else:
            print(model_name(MlflowRuns(folder, header, url), "emotion.mtl"))
    except StudyError as error:
        print(error)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
