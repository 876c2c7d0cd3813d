"""Names cannot leave their folder or break what is written: the report's HTML, Markdown and LaTeX with the real writer."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sermtl.about import check_label
from sermtl.errors import UserError
from study.drawing import printable, slug
from study.header import study_name
from study.report import latex, markdown, write_report
from tests.fake_study import fake_study
from tests.fuzz.harness import fuzzed
from tests.fuzz.mutate import names
from tests.test_report import Page


@fuzzed(25, 500, name=names)
def test_a_name_that_is_taken_is_a_folder_of_its_own(name: str) -> None:
    for take in (study_name, check_label):
        try:
            taken = take(name)
        except UserError:
            continue
        path = Path("/runs") / taken
        assert path.parent == Path("/runs")
        assert path.name == taken
        assert not set(taken) & set("/\\\0\n<>|$%`*?\"'")
        assert taken.isprintable()
    assert re.fullmatch(r"[a-z0-9-]{1,100}", slug(name))


def test_long_names_stay_apart() -> None:
    assert slug("x" * 5000) != slug("x" * 4999)


@fuzzed(25, 500, name=names)
def test_no_name_is_markup(name: str) -> None:
    shown = printable(name)
    assert "\n" not in shown
    assert not set(shown) & set("\0\x1b\u202e\u2028")
    assert not re.search(r"(?<!\\)[`*_\[\]<>|#~$]", markdown(name).replace("\\\\", ""))
    tex = latex(name)
    assert tex.isascii()
    plain = re.sub(r"\\text\w+\{\}|\$[^$]*\$|\\[&%$#_{}]", "", tex)
    assert not set(plain) & set("\\&%$#_{}~^")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named") / "runs" / "fake"
    fake_study(folder, seeds=3, speakers=4, trials=2, questions=("emotion",), confirm=("mtl", "control"))
    for path in (folder / "predictions").rglob("*.parquet"):  # they do not say whose they are, as an older version's
        pq.write_table(pq.read_table(path, partitioning=None).replace_schema_metadata(None), path)
    return folder


@fuzzed(1, 60, name=names.filter(lambda name: "\ud800" not in name))
def test_a_report_of_hostile_names(study: Path, tmp_path: Path, name: str) -> None:
    """A study folder forged by hand: its header and records name everything as an attacker likes.

    An arm's name is its records' folder too, so it has what such a name may have.
    """
    runs = tmp_path / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    shutil.copytree(study.parent, runs)
    folder = runs / "fake"
    header = json.loads((folder / "study.json").read_text())
    header |= {"name": name, "space_name": name, "device": name, "command": name, "created": name, "versions": {name: name}}
    header["space"] = {**header["space"], "title": name}
    header["corpus"] |= {"name": name, "path": name, "source": {"reader": name, name: name}}
    question = re.sub(r"[/\0]", "", name)[:40] or "x"
    header["questions"][0]["name"] = question
    for split in header["splits"]:
        split["parts"] = {
            part: {**about, "speakers": [f"{name}{s}" for s in about["speakers"]]} for part, about in split["parts"].items()
        }
    arms = {arm: f"{question}.{arm.rpartition('.')[2]}" for arm in header["confirm"]}
    header["confirm"] = list(arms.values())
    (folder / "study.json").write_text(json.dumps(header))
    (folder / "study.copy.json").unlink()
    for arm, forged in arms.items():
        for kind in ("records", "predictions"):
            (folder / kind / arm).rename(folder / kind / forged)
    for path in (folder / "records").rglob("*.json"):
        record = json.loads(path.read_text())
        record["identity"] |= {"study": name, "arm": arms[record["identity"]["arm"]]}
        if record["predictions"] is not None:
            where = f"predictions/{path.relative_to(folder / 'records').with_suffix('').as_posix()}"
            record |= {"predictions": f"{where}/clips.parquet", "pairs": f"{where}/pairs.parquet"}
        record |= {"reason": name, "params": {**record["params"], name: name}, "host": name, "device": name}
        path.write_text(json.dumps(record))
    for path in (folder / "opened.json", folder / "baselines.json"):  # as its study would have written them: whose, and no digest
        note = {key: value for key, value in json.loads(path.read_text()).items() if key != "sha256"}
        path.write_text(json.dumps({**note, "study": name, "begun": name}))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    page = write_report(folder)
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.parent.relative_to(folder).as_posix() for path in made} <= {"report", "report/data", "report/figures"}
    parsed = Page(page.read_text(encoding="utf-8"))
    assert not parsed.tags["script"]
    assert [address for address in parsed.addresses if re.match(r"[a-z]+:|//|/|\.\.", address)] == []
    lines = (folder / "report" / "report.md").read_text(encoding="utf-8").splitlines()
    assert not re.search(r"(?<!\\)<script", "\n".join(line for line in lines if not line.startswith("    ")))
    assert "\u202e" not in "".join(lines)
    tex = (folder / "report" / "contrast.tex").read_text(encoding="utf-8")
    assert tex.isascii()
    assert "\\input{x}" not in tex
