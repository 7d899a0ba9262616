# SPDX-License-Identifier: GPL-2.0-or-later
"""The cluster that demo, tests and benchmarks run on the lab's machines: one group with a database."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from appliance.lab import pair

# The lab's machines are reachable from the lab's own namespace only, so these are no secrets.
DATABASE, USER, PASSWORD = "shop", "shop", "pairkeep-lab"
KEY = b"".join(hashlib.sha256(f"pairkeep lab {number}".encode()).digest() for number in range(8))

CLUSTER_TOML = f"""\
[cluster]
name = "shop"
networks = ["10.9.1.0/24", "10.9.2.0/24"]

[node.alpha]
links = ["10.9.1.11", "10.9.2.11"]

[node.beta]
links = ["10.9.1.12", "10.9.2.12"]

[node.witness]
links = ["10.9.1.13", "10.9.2.13"]
votes_only = true

[drbd.shopdata]
disk = "/dev/disk/by-id/virtio-data"
link = 2

[[group]]
name = "shop"
prefer = "alpha"
resources = [
  {{ drbd = "shopdata" }},
  {{ filesystem = "/srv/mysql", device = "drbd:shopdata", type = "ext4" }},
  {{ service = "mariadb.service", probe = "mysql" }},
  {{ address = "{pair.SERVICE_ADDRESS}/24" }},
]
"""


def answers(machine: str, cluster_toml: str = CLUSTER_TOML) -> str:
    """The answers file `pairkeep.toml` of one machine."""
    macs = [pair.mac(machine, network) for network in (pair.SERVICE_NETWORK, pair.REPLICATION_NETWORK)]
    return (
        f'node = "{machine}"\n'
        f'cluster_key = "{base64.b64encode(KEY).decode()}"\n'
        f"interfaces = {json.dumps(macs)}\n"
        f"cluster = '''\n{cluster_toml}'''\n\n"
        f'[database]\nname = "{DATABASE}"\nuser = "{USER}"\npassword = "{PASSWORD}"\n'
    )


def all_answers(cluster_toml: str = CLUSTER_TOML) -> Mapping[str, str]:
    return {machine: answers(machine, cluster_toml) for machine in pair.ADDRESSES}
