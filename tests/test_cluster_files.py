"""The cluster files are what Ray's own launcher accepts, and open nothing but SSH to the world.

The validator is private to Ray: this is the contract test that goes with the pin.
"""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli

from sermtl.errors import StudyError
from study.options import read_options
from tests.cluster.hosts import Host, need_root_and_tools
from tests.cluster.setting_up import fill_in

ROOT = Path(__file__).parents[1]
FILES = ("cluster.yaml", "cluster-onprem.yaml")


COMMANDS = ("initialization_commands", "setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_it(name: str) -> None:
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", FILES)
def test_every_ray_command_uses_the_token_and_loopback(name: str) -> None:
    config = read(name)
    for command in config["head_start_ray_commands"] + config["worker_start_ray_commands"]:
        if "ray start" in command:
            assert "RAY_AUTH_MODE=token" in command
            assert "--head" not in command or "--dashboard-host=127.0.0.1" in command
    assert any("auth_token" in path for path in config["file_mounts"])


def test_the_cloud_head_trains_nothing_and_its_workers_are_spot_gpus() -> None:
    types = read("cluster.yaml")["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"], types["gpu"]["resources"]["GPU"]) == (0, 8, 1)
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_only_ssh_is_open_to_the_world() -> None:
    rules = read("cluster.yaml")["provider"]["security_group"]["IpPermissions"]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in rules] == [(22, 22)]


def test_on_premises_the_old_autoscaler_starts_the_workers() -> None:
    head = next(command for command in read("cluster-onprem.yaml")["head_start_ray_commands"] if "--head" in command)
    assert "RAY_enable_autoscaler_v2=0" in head


@pytest.mark.parametrize("name", FILES)
def test_every_command_is_one_that_a_shell_can_read(name: str) -> None:
    commands = [command for key in COMMANDS for command in read(name).get(key, [])]
    assert len(commands) > 6
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("name", FILES)
def test_mlflow_s_server_is_on_the_head_s_loopback(name: str) -> None:
    config = read(name)
    [server] = [command for command in config["head_start_ray_commands"] if "mlflow server" in command]
    assert "--host 127.0.0.1" in server
    assert not any("mlflow server" in command for command in config["worker_start_ray_commands"])


@pytest.mark.parametrize("name", FILES)
def test_what_its_comments_say_to_run_exists(name: str) -> None:
    """Ray's commands have the options they are shown with, and `study.run` reads its own."""
    lines = [line.lstrip("# ") for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    comments = "\n".join(lines).replace("\\\n", "")
    [submitted] = re.findall(r"^.*ray submit (\S+) (\S+) -- (.*)$", comments, flags=re.MULTILINE)
    assert submitted[0] == name
    assert (ROOT / submitted[1]).exists()
    options = read_options(shlex.split(submitted[2]))
    assert (options.address, options.tracking_uri) == ("auto", "http://127.0.0.1:5000")
    [job] = re.findall(r"ray job submit (.*?) -- +python -m study.run (.*) \.\.\.$", comments, flags=re.MULTILINE)
    assert read_options(shlex.split(job[1])).address == "auto"
    for words, given in ((("submit",), "--no-config-cache"), (("job", "submit"), job[0]), (("attach",), "-p 5000 -p 8265")):
        command: Any = cli
        for word in words:
            command = command.commands[word]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", given)) <= known


def test_what_the_hosts_install_is_an_extra_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert any("ray[default]" in package for package in extras["cluster"])
    for name in FILES:
        assert any(command.endswith('-e ~/sermtl-study"[cluster]"') for command in read(name)["setup_commands"])


def test_every_cloud_node_mounts_the_shared_folder_before_ray_starts() -> None:
    assert any(
        "mountpoint -q /shared" in command and "mount -t nfs4" in command for command in read("cluster.yaml")["setup_commands"]
    )


def test_the_hosts_of_namespaces_run_the_shipped_file() -> None:
    """Filled in are addresses, user and cores; nothing else."""
    hosts = [Host(f"node-{number}", f"10.0.0.{number}", 0) for number in (1, 2, 3)]
    shipped, filled = read("cluster-onprem.yaml"), yaml.safe_load(fill_in(hosts))
    assert filled["provider"] == {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2", "10.0.0.3"]}
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert [command.replace(" --num-cpus=1", "") for command in filled[key]] == shipped[key]
    same = set(shipped) - {"provider", "auth", "head_start_ray_commands", "worker_start_ray_commands"}
    assert {key: filled[key] for key in same} == {key: shipped[key] for key in same}


def test_making_hosts_without_root_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(StudyError, match="needs root"):
        need_root_and_tools()
