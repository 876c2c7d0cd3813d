"""docs/cluster.md: what happened on the hosts, as found."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sermtl.files import write_text
from study.declare import versions
from study.wording import duration
from tests.cluster.story import Story

SHOWN = ("code", "python", "torch", "ray", "optuna", "mlflow")


def write_page(path: Path, story: Story, hosts: Sequence[str]) -> str:
    """Write the page and return its text; hosts: all there were, the head first."""
    text = "\n".join(_lines(story, hosts)) + "\n"
    write_text(path, text)
    return text


def _lines(story: Story, hosts: Sequence[str]) -> Iterator[str]:
    faults = story.faults(hosts)
    runs = f"{len(story.searched.records)} runs ended, {_states(story)}, in {duration(story.study_s)}"
    used = ", ".join(f"{name} {version}" for name, version in versions().items() if name in SHOWN)
    yield f"""# On {len(hosts)} hosts, one of which dies

Written by `python -m tests.cluster` on {datetime.now(UTC):%Y-%m-%d}; {used}.

The hosts are Linux namespaces on one machine: each has its own processes, network, name, home, `/tmp`, shared memory and SSH
server; they share one folder and the machine's cores, so no time here says how fast a cluster is. `ray up` ran the shipped
`cluster-onprem.yaml` over SSH, with these hosts' addresses and user in it and one core each. The corpus is synthetic.

| what was done | what came of it |
| --- | --- |
| `ray up cluster-onprem.yaml` | {len(hosts)} hosts had joined after {duration(story.up_s)} |
| a study while {story.victim} did not see the shared folder | refused: `{story.blind_said}` |
| `ray submit cluster-onprem.yaml study/run.py` | {runs} |
| {story.victim} killed: cable cut, then every process at once | {story.killed_processes} processes, with a trial in the middle |
| Ray took it off its list | {duration(story.noticed_s)} later |
| runs ended before its death, and after | {len(story.ended_before)}, and {len(story.late)} on the hosts that lived |
| runs begun or waiting at its death | {len(story.in_progress)}; {len(story.went_on)} of them ended on other hosts, once |
| `ray job submit` of the finished study with one more seed | {len(story.added)} runs more |
| records, Optuna, MLflow, checkpoints, predictions | {story.doctor_said} |
| **promises broken** | **{len(faults)}** |

Runs by the host on which they ended:

| host | search | confirm | of these after the death | added by the job |
| --- | --- | --- | --- | --- |"""
    for host, counts in story.by_host().items():
        yield f"| {host}{' (head)' if host == hosts[0] else ''} | " + " | ".join(str(count) for count in counts) + " |"
    for fault in faults:
        yield f"\n**Not as promised:** {fault}"


def _states(story: Story) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(story.searched.states.items()))
