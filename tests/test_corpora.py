"""The readers: names to labels, and every defect a name or a table can have."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile

from sermtl.corpora.crema_d import emotion_of, list_crema_d, read_votes, summarise_votes
from sermtl.corpora.emodb import list_emodb
from sermtl.corpora.listing import Listing, only_emotions
from sermtl.corpora.manifest import list_manifest
from sermtl.corpora.ravdess import list_ravdess
from sermtl.errors import CorpusError

DEMOGRAPHICS = (
    '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n1002,21,"Female","Unknown","Hispanic"\n'
)


def touch(folder: Path, *names: str) -> Path:
    """Empty files: a reader looks at names only."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def labels(listing: Listing) -> dict[str, dict[str, str | None]]:
    return {recording.name: recording.labels for recording in listing.recordings}


# ---- CREMA-D ------------------------------------------------------------------------------------------------------


def test_crema_d_names_and_demographics(tmp_path: Path) -> None:
    touch(tmp_path, "AudioWAV/1001_IEO_ANG_HI.wav", "AudioWAV/1002_DFA_NEU_XX.wav", "AudioMP3/1001_IEO_ANG_HI.mp3")
    (tmp_path / "VideoDemographics.csv").write_text(DEMOGRAPHICS)
    found = labels(list_crema_d(tmp_path))
    person = {"sex": "male", "age": "51", "race": "Caucasian", "ethnicity": "Not Hispanic"}
    assert found["1001_IEO_ANG_HI"] == {"speaker": "1001", "sentence": "IEO", "emotion": "ANG", "level": "HI", **person}
    assert (found["1002_DFA_NEU_XX"]["race"], found["1002_DFA_NEU_XX"]["sex"]) == (None, "female")  # 'Unknown' is no race
    assert len(found) == 2
    assert labels(list_crema_d(tmp_path / "AudioWAV")) == found  # the audio folder itself will do


def test_crema_d_in_a_folder_of_its_archives_own(tmp_path: Path) -> None:
    root = tmp_path / "CREMA-D-master"
    touch(root, "AudioMP3/1001_IEO_ANG_HI.mp3", "AudioWAV/1001_IEO_ANG_HI.wav")
    (root / "VideoDemographics.csv").write_text(DEMOGRAPHICS)
    listing = list_crema_d(tmp_path)
    assert [recording.path.suffix for recording in listing.recordings] == [".wav"]
    assert not listing.flaws
    assert labels(listing)["1001_IEO_ANG_HI"]["sex"] == "male"


def test_crema_d_historic_name_is_the_same_clip(tmp_path: Path) -> None:
    listing = list_crema_d(touch(tmp_path, "1040_ITH_SAD_X.wav"))
    assert [recording.name for recording in listing.recordings] == ["1040_ITH_SAD_XX"]
    assert not listing.flaws
    listing = list_crema_d(touch(tmp_path, "1040_ITH_SAD_XX.wav"))
    assert [recording.name for recording in listing.recordings] == ["1040_ITH_SAD_XX"] * 2


def test_crema_d_defects_of_names(tmp_path: Path) -> None:
    listing = list_crema_d(
        touch(tmp_path, "1001_ABC_ANG_XX.wav", "1001_DFA_JOY_XX.wav", "take two.wav", "1076_MTI_SAD_XX.wav", "._x.wav")
    )
    flaws = {recording.name: recording.flaw for recording in listing.recordings}
    assert flaws["1001_ABC_ANG_XX"] == ("unknown code", "sentence 'ABC' not in CREMA-D's tables")
    assert flaws["1001_DFA_JOY_XX"] == ("unknown code", "emotion 'JOY' not in CREMA-D's tables")
    assert labels(listing)["1001_DFA_JOY_XX"]["emotion"] is None
    assert flaws["1076_MTI_SAD_XX"] == ("silent", "known to have no audible speech")
    assert [(file, kind) for file, kind, _ in listing.flaws] == [("take two.wav", "unknown name")]


@pytest.mark.parametrize("place", ["", "processedResults"])
def test_crema_d_tables_are_found_in_either_place(tmp_path: Path, place: str) -> None:
    touch(tmp_path, "AudioWAV/1001_IEO_ANG_HI.wav")
    (tmp_path / place).mkdir(exist_ok=True)
    header = '"","A","D","F","H","N","S","fileName"\n'
    table = (
        '"100001",3,1,0,0,6,0,"1001_IEO_ANG_HI"\n"200001",9,0,0,0,0,0,"1001_IEO_ANG_HI"\n"300001",9,0,0,0,0,0,"1001_IEO_ANG_HI"\n'
    )
    (tmp_path / place / "tabulatedVotes.csv").write_text(header + table)
    for folder in (tmp_path, tmp_path / "AudioWAV"):
        listing = list_crema_d(folder)
        assert listing.votes == {"1001_IEO_ANG_HI": {"ANG": 3, "DIS": 1, "FEA": 0, "HAP": 0, "NEU": 6, "SAD": 0}}
        assert any("VideoDemographics" in note for note in listing.notes)


def test_human_votes_are_the_voice_only_ones(crema_d_folder: Path) -> None:
    votes = read_votes(crema_d_folder / "tabulatedVotes.csv")
    assert len(votes) == 7442
    found = summarise_votes(votes, {clip: emotion_of(clip) for clip in votes})
    assert found["votes"] == 68_568
    assert found["accuracy"] == pytest.approx(0.400, abs=5e-4)
    percent = {emotion: round(100 * row["accuracy"]) for emotion, row in found["per_emotion"].items()}
    assert percent == {"ANG": 53, "DIS": 29, "FEA": 32, "HAP": 29, "NEU": 76, "SAD": 25}
    assert sum(sum(row.values()) for row in found["confusion"].values()) == found["votes"]


def test_ten_real_crema_d_clips(crema_d_folder: Path) -> None:
    listing = list_crema_d(crema_d_folder)
    assert len(listing.recordings) == 10
    assert not listing.flaws
    assert all(None not in recording.labels.values() for recording in listing.recordings)
    assert listing.notes == ["10 of CREMA-D's 7442 published clips are here"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs stub"),
        ('"ActorID","Age","Gender","Race","Ethnicity"\n', "no column 'Sex'"),
        ('"Actor', "cannot be read as a CSV table .unexpected end"),
        ("", "no column 'ActorID'; download it again"),
        (DEMOGRAPHICS + "1003,2", "row 3 has fewer fields than the header, as in a file that is cut off"),
        (DEMOGRAPHICS + '1003,21,"Male","Asian","Not His', "unexpected end of data"),
        (DEMOGRAPHICS + '1001,51,"Female","Caucasian","Not Hispanic"\n', "two rows of actor '1001' differ"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, table: str, message: str) -> None:
    touch(tmp_path, "1001_IEO_ANG_HI.wav")
    (tmp_path / "VideoDemographics.csv").write_text(table)
    with pytest.raises(CorpusError, match=f"VideoDemographics.csv: .*{message}"):
        list_crema_d(tmp_path)


def test_a_table_of_any_size_is_not_read(tmp_path: Path) -> None:
    touch(tmp_path, "1001_IEO_ANG_HI.wav", "VideoDemographics.csv")
    os.truncate(tmp_path / "VideoDemographics.csv", 2**40)  # takes no room
    with pytest.raises(CorpusError, match=r"VideoDemographics.csv: has 1,099,511,627,776 bytes, more than .* download it again"):
        list_crema_d(tmp_path)


@pytest.mark.parametrize("votes", ["many", "inf", "nan", "-3"])
def test_a_vote_that_is_no_number_is_named(tmp_path: Path, votes: str) -> None:
    touch(tmp_path, "1001_IEO_ANG_HI.wav")
    (tmp_path / "tabulatedVotes.csv").write_text(
        f'"","fileName","A","D","F","H","N","S"\n100001,1001_IEO_ANG_HI,{votes},0,0,0,1,1\n'
    )
    with pytest.raises(CorpusError, match=f"tabulatedVotes.csv: '{votes}' is not a number of votes"):
        list_crema_d(tmp_path)


# ---- RAVDESS and EmoDB --------------------------------------------------------------------------------------------


NAME = "03-01-05-02-01-02-07"


def test_ravdess_names(tmp_path: Path) -> None:
    names = ("Actor_07/03-01-05-02-01-02-07.wav", "Actor_08/03-01-08-01-02-01-08.flac", "Actor_08/03-02-05-01-02-01-08.wav")
    wrong = ("Actor_08/03-01-09-01-02-01-08.wav", "Actor_08/03-01-05-01-02-01-25.wav")
    listing = list_ravdess(touch(tmp_path, *names, *wrong, "Actor_08/song.wav"))
    found = labels(listing)
    strong = {"speaker": "07", "sex": "male", "emotion": "ANG", "level": "strong", "sentence": "KIDS", "repetition": "2"}
    assert found["03-01-05-02-01-02-07"] == strong
    assert (found["03-01-08-01-02-01-08"]["sex"], found["03-01-08-01-02-01-08"]["emotion"]) == ("female", "SUR")
    flaws = {recording.name: recording.flaw for recording in listing.recordings if recording.flaw}
    assert flaws == {
        "03-01-09-01-02-01-08": ("unknown code", "emotion '09' not in RAVDESS' tables"),
        "03-01-05-01-02-01-25": ("unknown code", "actor '25' not in RAVDESS' tables"),
    }
    assert [file for file, _, _ in listing.flaws] == ["song.wav"]
    assert listing.notes[0] == "4 of RAVDESS's 1440 published clips are here"
    assert "1 file(s) are song" in listing.notes[1]


def test_a_download_that_holds_everything_twice_is_listed_twice_and_counted_once(tmp_path: Path) -> None:
    listing = list_ravdess(touch(tmp_path, f"Actor_07/{NAME}.wav", f"all/{NAME}.wav", f"Actor_01/{NAME}.mp3"))
    assert [str(recording.path.relative_to(tmp_path)) for recording in listing.recordings] == [
        f"Actor_07/{NAME}.wav",
        f"all/{NAME}.wav",
        f"Actor_01/{NAME}.mp3",  # after the lossless ones
    ]
    assert listing.notes == ["1 of RAVDESS's 1440 published clips are here"]
    assert only_emotions(listing, ["ANG"]).notes[1:] == ["kept 1 of 1 clips: emotions ANG"]


def test_real_ravdess_is_complete(ravdess_folder: Path) -> None:
    listing = list_ravdess(ravdess_folder)
    assert len(listing.recordings) == 1440
    assert not listing.flaws
    assert not listing.notes
    assert len({row["speaker"] for row in labels(listing).values()}) == 24


def test_emodb_names(tmp_path: Path) -> None:
    listing = list_emodb(
        touch(tmp_path, "wav/03a01Wa.wav", "wav/16b10Lb.wav", "wav/17a01Na.wav", "wav/03a03Na.wav", "wav/README.wav")
    )
    found = labels(listing)
    assert found["03a01Wa"] == {"speaker": "03", "sentence": "a01", "emotion": "ANG", "version": "a", "sex": "male", "age": "31"}
    assert (found["16b10Lb"]["emotion"], found["16b10Lb"]["sex"]) == ("BOR", "female")
    flaws = {recording.name: recording.flaw for recording in listing.recordings if recording.flaw}
    assert flaws["17a01Na"] == ("unknown code", "speaker '17' not in EmoDB's tables")
    assert flaws["03a03Na"] == ("unknown code", "text 'a03' not in EmoDB's tables")
    assert [kind for _, kind, _ in listing.flaws] == ["unknown name"]


def test_women_of_emodb(tmp_path: Path) -> None:
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    found = labels(list_emodb(touch(tmp_path, *(f"{speaker}a01Na.wav" for speaker in speakers))))
    assert {row["speaker"] for row in found.values() if row["sex"] == "female"} == {"08", "09", "13", "14", "16"}


@pytest.mark.parametrize(("reader", "name"), [(list_crema_d, "1001_DFA"), (list_ravdess, "03-01-05"), (list_emodb, "03a01Wa")])
def test_a_folder_without_audio_says_what_was_expected(tmp_path: Path, reader: object, name: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CorpusError, match=f"no audio file in it; expected names like {name}"):
        reader(tmp_path)  # type: ignore[operator]
    with pytest.raises(CorpusError, match="no such folder"):
        reader(tmp_path / "missing")  # type: ignore[operator]
    with pytest.raises(CorpusError, match="is a file, not a folder"):
        reader(tmp_path / "notes.txt")  # type: ignore[operator]


LISTED_BY_NOBODY = """
import os, sys
from pathlib import Path
from sermtl.corpora.ravdess import list_ravdess
if os.geteuid() == 0:
    os.setuid(65534)
list_ravdess(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(("shut", "said"), [("Actor_02", True), ("lost+found", False)])
def test_a_folder_that_cannot_be_looked_into_is_not_passed_over(tmp_path: Path, shut: str, said: bool) -> None:
    folder = touch(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", f"{shut}/03-01-01-01-01-01-02.wav")
    for place in (tmp_path, *tmp_path.parents[:3]):
        place.chmod(place.stat().st_mode | 0o055)  # so that another user, whom nothing is opened to, gets as far as this
    (folder / shut).chmod(0)
    ended = subprocess.run([sys.executable, "-c", LISTED_BY_NOBODY, str(folder)], capture_output=True, text=True, check=False)
    (folder / shut).chmod(0o755)
    assert (f"CorpusError: {folder / shut}: cannot be looked into (Permission denied)" in ended.stderr) == said
    assert ended.returncode == said


def test_only_some_emotions(tmp_path: Path) -> None:
    listing = list_emodb(touch(tmp_path, "03a01Wa.wav", "03a01La.wav", "03a01Na.wav"))
    kept = only_emotions(listing, ["ANG", "NEU"])
    assert sorted(labels(kept)) == ["03a01Na", "03a01Wa"]
    assert kept.notes == ["3 of EmoDB's 535 published clips are here", "kept 2 of 3 clips: emotions ANG, NEU"]
    with pytest.raises(CorpusError, match="'ang' is not an emotion of this corpus; did you mean 'ANG'"):
        only_emotions(listing, ["ang"])
    with pytest.raises(CorpusError, match="'ANGRY' is not an emotion of this corpus; did you mean 'ANG'"):
        only_emotions(listing, ["ANGRY"])


# ---- manifest -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "sub/b.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(1600), 16_000)
    return tmp_path


def manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("written", "lies"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_file_is_found_in_either_unicode_form(folder: Path, written: str, lies: str) -> None:
    """An archive made on a Mac has names whose accents stand apart; the folder it was unpacked into may have its own."""
    name, root = "Zoë.wav", folder / unicodedata.normalize(written, "Übung")
    root.mkdir()
    (folder / "a.wav").rename(root / unicodedata.normalize(lies, name))
    text = f"path,speaker,emotion\n{unicodedata.normalize(written, name)},one,joy\n"
    listing = list_manifest(manifest(root, text))
    assert listing.flaws == []
    (found,) = listing.recordings
    assert found.path.is_file()
    assert found.name == unicodedata.normalize(written, "Zoë")


def test_manifest_keeps_every_further_column(folder: Path) -> None:
    text = "\ufeffpath,speaker,Emotion,Sex,My Mood,age\na.wav,one,joy,F,good,31\nsub/b.flac,two,,m,n/a,\n"
    listing = list_manifest(manifest(folder, text))
    assert labels(listing) == {
        "a": {"speaker": "one", "emotion": "joy", "sex": "female", "my_mood": "good", "age": "31"},
        "sub/b": {"speaker": "two", "emotion": None, "sex": "male", "my_mood": None, "age": None},
    }
    assert listing.demographics == ["sex", "age"]
    assert listing.corpus == folder.name
    assert labels(list_manifest(folder)) == labels(listing)  # the folder that holds it will do


def test_a_column_without_a_name_is_left_out(folder: Path) -> None:
    listing = list_manifest(manifest(folder, ",path,speaker,emotion\n0,a.wav,one,joy\n"))
    assert labels(listing) == {"a": {"speaker": "one", "emotion": "joy"}}


def test_a_files_name_may_have_dots_and_no_suffix(folder: Path) -> None:
    (folder / "v1.0").mkdir()
    for name in ("v1.0/x", "v1.0/y.z.wav"):
        soundfile.write(folder / name, np.zeros(1600), 16_000, format="WAV")
    assert list(labels(list_manifest(manifest(folder, "path,speaker,emotion\nv1.0/x,a,joy\nv1.0/y.z.wav,a,joy\n")))) == [
        *("v1.0/x", "v1.0/y.z")
    ]


def test_gender_is_not_taken_for_sex_without_a_word(folder: Path) -> None:
    path = manifest(folder, "path,speaker,emotion,Gender\na.wav,one,joy,F\n")
    listing = list_manifest(path)
    assert labels(listing)["a"]["gender"] == "F"
    assert listing.notes == ["'Gender' is a label of its own here; for splits balanced by sex, add --column sex=Gender"]
    listing = list_manifest(path, None, {"sex": "Gender"})
    assert labels(listing)["a"]["sex"] == "female"
    assert not listing.notes


def test_paths_may_be_written_on_windows(folder: Path) -> None:
    listing = list_manifest(manifest(folder, "path,speaker,emotion\n.\\a.wav,one,joy\nsub\\b.flac,two,joy\n"))
    assert list(labels(listing)) == ["a", "sub/b"]
    with pytest.raises(CorpusError, match="lies outside"):
        list_manifest(manifest(folder, "path,speaker,emotion\n..\\a.wav,one,joy\n"))
    (folder / "c\\d.wav").touch()  # a name of this system's, backslash and all
    assert list(labels(list_manifest(manifest(folder, "path,speaker,emotion\nc\\d.wav,one,joy\n")))) == ["c\\d"]


@pytest.mark.parametrize(
    ("path", "meant"), [("a", "a.wav"), ("A.WAV", "a.wav"), ("sub/b", "b.flac"), ("nowhere/b", None), ("zzz", None)]
)
def test_a_file_of_nearly_that_name_is_named(folder: Path, path: str, meant: str | None) -> None:
    with pytest.raises(CorpusError, match="none of its 1 files is there") as raised:
        list_manifest(manifest(folder, f"path,speaker,emotion\n{path},one,joy\n"))
    assert ("did you mean" in str(raised.value)) == (meant is not None)
    assert (f"did you mean '{meant}'?" in str(raised.value)) == (meant is not None)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_manifest_delimiters(folder: Path, delimiter: str) -> None:
    rows = [["path", "speaker", "emotion"], ["a.wav", "1,5", "joy"]]
    listing = list_manifest(manifest(folder, "\n".join(delimiter.join(row) for row in rows)))
    assert labels(listing) == {"a": {"speaker": "1,5", "emotion": "joy"}}


def test_manifest_in_parquet_with_numbers(folder: Path) -> None:
    table = pa.table({"path": ["a.wav", "sub/b.flac"], "speaker": [1, 2], "emotion": ["x", None], "age": [31.0, None]})
    pa.parquet.write_table(table, folder / "m.parquet")
    found = labels(list_manifest(folder / "m.parquet"))
    assert found["a"] == {"speaker": "1", "emotion": "x", "age": "31"}
    assert found["sub/b"] == {"speaker": "2", "emotion": None, "age": None}


def test_manifest_root_and_column_names(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = manifest(tmp_path_factory.mktemp("elsewhere"), "file,who,label\na.wav,one,joy\n")
    columns = {"path": "file", "speaker": "who", "emotion": "label"}
    assert labels(list_manifest(other, folder, columns)) == {"a": {"speaker": "one", "emotion": "joy"}}


def test_manifest_defects(folder: Path) -> None:
    listing = list_manifest(manifest(folder, "path,speaker,emotion\na.wav,,joy\nsub/b.flac,two,joy\nc.wav,two,joy\n"))
    assert [(clip, kind) for clip, kind, _ in listing.flaws] == [("a", "no speaker"), ("c", "missing file")]
    assert list(labels(listing)) == ["sub/b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,speakr,emotion\na.wav,one,joy\n",
            "no column 'speaker'; did you mean 'speakr'? (or name it with --column speaker=COLUMN)",
        ),
        ("path,speaker,emotion\n", "has no rows"),
        ("", "has no rows"),
        ("path,speaker,emotion\n,one,joy\n", "row 1 has no path"),
        ("path,speaker,emotion\na.wav,one,joy,x\n", "row 1 has more fields than the header"),
        ("path,speaker,emotion\n../a.wav,one,joy\n", "lies outside"),
        ("path,speaker,emotion\n/etc/passwd,one,joy\n", "lies outside"),
        ("path,speaker,emotion\nx.wav,one,joy\n", "none of its 1 files is there"),
        ("path,speaker,emotion\na.wav,one,joy\na.wav,one,sad\n", "two rows name 'a'"),
        ("path,speaker,emotion,clip\na.wav,one,joy,1\n", "column 'clip' would be the label 'clip', which is taken"),
        ("path,speaker,emotion,Emotion\na.wav,one,joy,1\n", "which is taken"),
        ("path,speaker,emotion,emotion\na.wav,one,joy,sad\n", "two columns are named 'emotion'"),
        ("path,speaker,speaker ,emotion\na.wav,one,two,joy\n", "two columns are named 'speaker'"),
        ("path,speaker,emotion,total\na.wav,one,joy,1\n", "column 'total': a label cannot be called 'total'"),
        ("path,speaker,emotion,?\na.wav,one,joy,1\n", "column '?': '' is not a label's name"),
        ('path,speaker,emotion\n"a.wav,one,joy\n', "cannot be read as a CSV"),
    ],
)
def test_manifest_mistakes(folder: Path, text: str, message: str) -> None:
    import re

    with pytest.raises(CorpusError, match=re.escape(message)):
        list_manifest(manifest(folder, text))


def test_a_manifest_of_any_size_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest(folder, "path,speaker,emotion\n" + "a.wav,one,joy\n" * 5)
    monkeypatch.setattr("sermtl.corpora.manifest.MOST_ROWS", 4)
    with pytest.raises(CorpusError, match=r"manifest.csv: has more than 4 rows; .* prepare the corpus in parts"):
        list_manifest(path)
    os.truncate(path, 2**40)
    with pytest.raises(CorpusError, match=r"has 1,099,511,627,776 bytes, more than 1,073,741,824; "):
        list_manifest(path)
    table = pa.table({"path": ["a.wav"] * 5, "speaker": ["one"] * 5, "emotion": ["joy"] * 5})
    pa.parquet.write_table(table, folder / "m.parquet")
    with pytest.raises(CorpusError, match=r"m.parquet: has more than 4 rows"):
        list_manifest(folder / "m.parquet")


@pytest.mark.parametrize(
    ("name", "reader", "error"),
    [
        ("m.csv", "sermtl.corpora.manifest.csv.DictReader", MemoryError()),
        ("m.parquet", "pyarrow.parquet.ParquetFile", pa.lib.ArrowMemoryError("malloc of size 99 failed")),
    ],
)
def test_memory_that_runs_out_is_not_called_a_fault_of_the_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, reader: str, error: MemoryError
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(reader, full)
    (folder / name).write_text("path,speaker,emotion\n")
    with pytest.raises(CorpusError) as caught:
        list_manifest(folder / name)
    told = f" ({error})" if str(error) else ""
    assert f"{name}: reading its 21 bytes takes more memory than this machine has left{told}; free some" in str(caught.value)


def test_one_label_in_two_unicode_forms_or_with_another_space_is_one(folder: Path) -> None:
    text = "path,speaker,emotion\na.wav,Jos\u00e9 B,joy\nsub/b.flac,Jose\u0301\u00a0 B,joy\n"
    listing = list_manifest(manifest(folder, text))
    assert [row["speaker"] for row in labels(listing).values()] == ["Jos\u00e9 B"] * 2
    assert not listing.notes


def test_a_manifests_name_may_be_no_text_and_long(folder: Path) -> None:
    path = folder / (os.fsdecode(b"\xff") + "x" * 220 + ".csv")
    path.write_text("path,speaker,emotion\na.wav,one,joy\n")
    assert list_manifest(path).corpus == "\\xff" + "x" * 196


def test_manifest_places_that_are_wrong(folder: Path) -> None:
    with pytest.raises(CorpusError, match="no such file"):
        list_manifest(folder / "missing.csv")
    with pytest.raises(CorpusError, match="found none"):
        list_manifest(folder)
    path = manifest(folder, "path,speaker,emotion\na.wav,one,joy\n")
    with pytest.raises(CorpusError, match=r"--root .*no such folder"):
        list_manifest(path, folder / "missing")
    with pytest.raises(CorpusError, match="has no column 'x'"):
        list_manifest(path, None, {"emotion": "x"})
    path.write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(CorpusError, match="save it as UTF-8"):
        list_manifest(path)
    for name in ("m.xlsx", "m.feather", "m.csv.gz"):
        (folder / name).write_bytes(b"PK\3\4")
        with pytest.raises(CorpusError, match=rf"{name}: not a CSV or Parquet table; export it as CSV"):
            list_manifest(folder / name)
    (folder / "m.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(CorpusError, match="cannot be read"):
        list_manifest(folder / "m.parquet")
