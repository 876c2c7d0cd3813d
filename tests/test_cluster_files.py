"""The cluster files are what Ray's own launcher accepts, and open nothing but SSH to the world.

The validator is private to Ray: this is the contract test that goes with the pin.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[1]
FILES = ("cluster.yaml", "cluster-onprem.yaml")


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
