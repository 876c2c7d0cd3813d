"""What every node of a cluster must see, asked of each before anything is spent: the studies' folder, the corpus, the code.

The driver leaves a word in the folder; every node on which a trial has room reads it, opens the corpus, and leaves an
answer that the driver reads. A node that joins later is asked when its first trial starts: what it lacks is then the
node's fault, and no trial's. One line names the node and the remedy.
"""

import functools
import hashlib
import platform
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from sermtl import fetch
from sermtl.corpus import Corpus
from sermtl.errors import CorpusError, SermtlError, StudyError
from sermtl.files import sweep_abandoned
from study.cluster import NodeAffinitySchedulingStrategy, Resources, connect, nodes_with_room, ray
from study.job import Workplace
from study.lock import session_of

ANSWER_S = 120.0  # a node that has started no worker yet imports PyTorch first
SLOW_BYTES_S = 5e6  # a node that fetches the corpus may do so this slowly
SETTLE_S = 10.0  # a network file system may show another host's file this late

__all__ = ["NodeError", "check_nodes", "check_workplace", "code_digest", "open_corpus"]


class NodeError(SermtlError):
    """A node cannot run the study's trials; none of them is to blame."""


# ---- on the driver -------------------------------------------------------------------------------------------------


def check_nodes(runs: Path, corpus: Corpus, resources: Resources) -> int:
    """Ask every node on which a trial has room; returns how many were asked.

    runs: the studies' folder. Raises StudyError naming the node that does not see what the driver sees.
    """
    connect(resources)
    runs.mkdir(parents=True, exist_ok=True)
    sweep_abandoned(runs, ".probe-*")
    folder = runs.resolve() / f".probe-{secrets.token_hex(8)}"
    word = secrets.token_hex(8)
    try:
        folder.mkdir()
        (folder / "driver").write_text(word, encoding="utf-8")
        nodes = nodes_with_room(resources)
        asked = {_ask(node["NodeID"], folder, corpus): node for node in nodes}
        wait_s = ANSWER_S + (corpus.samples.nbytes / SLOW_BYTES_S if "://" in corpus.address else 0)
        answered, silent = ray.wait(list(asked), num_returns=max(1, len(asked)), timeout=wait_s) if asked else ([], [])
        if silent:
            raise StudyError(f"{_name(asked[silent[0]])} has not answered within {wait_s:.0f} s; mend it, or take it away")
        for answer in answered:
            _judge(answer, asked[answer], folder, word)
    except OSError as error:
        raise StudyError(f"{runs}: the studies' folder cannot be written ({error}); mend that, or choose another --runs") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return len(nodes)


def _ask(node: str, folder: Path, corpus: Corpus) -> Any:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    ask = ray.remote(num_cpus=0, max_retries=0)(_answer).options(scheduling_strategy=there)
    return ask.remote(str(folder), node, corpus.address, corpus.checksum, code_digest())


def _judge(answer: Any, node: dict[str, Any], folder: Path, word: str) -> None:
    """Raises StudyError unless the node read the driver's word, and the driver reads the node's."""
    try:
        complaint, said = ray.get(answer)
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1]
        raise StudyError(f"{_name(node)} cannot run the study's code ({why}); install the same version there") from None
    if complaint:
        raise StudyError(f"{_name(node)} {complaint}")
    if said != word or not _appears(folder / node["NodeID"], said):
        raise StudyError(f"{_name(node)} sees another {folder.parent} than the driver; mount the same folder at the same path")


def _name(node: dict[str, Any]) -> str:
    return f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


# ---- on a node -----------------------------------------------------------------------------------------------------


def _answer(folder: str, node: str, corpus: str, checksum: str, code: str) -> tuple[str, str]:
    """(what is wrong, '' when nothing is; the driver's word), and the same word left in the folder."""
    if not _appears(Path(folder) / "driver"):
        return f"does not see the studies' folder {Path(folder).parent}; mount it there at the same path", ""
    if complaint := _code_complaint(code) or _corpus_complaint(corpus, checksum):
        return complaint, ""
    word = (Path(folder) / "driver").read_text(encoding="utf-8")
    try:
        (Path(folder) / node).write_text(word, encoding="utf-8")
    except OSError as error:
        return f"cannot write in the studies' folder {Path(folder).parent} ({error.strerror}); let its user write there", ""
    return "", word


def check_workplace(place: Workplace) -> None:
    """Raises NodeError when this node does not see what the driver sees. Asked before a trial's first epoch here."""
    if place.session and not _sees_session(Path(place.folder), place.session):
        raise _node_error(f"does not see the study's folder {place.folder}; mount it there at the same path")
    if complaint := _code_complaint(place.code) or _corpus_complaint(place.corpus, place.checksum):
        raise _node_error(complaint)


def _node_error(complaint: str) -> NodeError:
    return NodeError(f"node {platform.node()} {complaint}")


def _sees_session(folder: Path, session: str) -> bool:
    deadline = time.monotonic() + SETTLE_S
    while session_of(folder) != session:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@functools.lru_cache(maxsize=2)
def open_corpus(path: str, checksum: str) -> Corpus:
    """The corpus at a path or URI, memory-mapped once per process. Raises CorpusError when it is not the study's."""
    return fetch.open_corpus(path, checksum)


@functools.lru_cache(maxsize=8)
def _code_complaint(code: str) -> str:
    if code and code_digest() != code:
        return "has other code of the study than the driver; copy the same version there (`ray up` does)"
    return ""


def _corpus_complaint(path: str, checksum: str) -> str:
    try:
        open_corpus(path, checksum)
    except (CorpusError, OSError) as error:
        return f"cannot read the corpus: {error}"
    return ""


@functools.cache
def code_digest() -> str:
    """SHA-256 over the source files of sermtl and study: the same on two nodes when they run the same code."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted([*(root / "sermtl").rglob("*.py"), *(root / "study").rglob("*.py")]):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _appears(path: Path, word: str | None = None) -> bool:
    """Whether a file that another host has written shows here, with this content."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            text = path.read_text(encoding="utf-8")
            if word is None or text == word:
                return True
        except OSError:
            pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
