# SPDX-License-Identifier: GPL-2.0-or-later
"""The cluster that demo, tests and benchmarks run: two workers with a database, and a witness."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass

from appliance.lab.networks import mac_address

SERVICE_ADDRESS = "10.9.1.100"
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
  {{ address = "{SERVICE_ADDRESS}/24" }},
]
"""


@dataclass(frozen=True)
class Role:
    """One machine of the pair: its image, memory in MiB and number in both networks."""

    name: str
    image: str
    memory_mib: int
    number: int
    data_disk_mib: int = 0


ROLES = (
    Role("alpha", "database", 768, 11, data_disk_mib=512),
    Role("beta", "database", 768, 12, data_disk_mib=512),
    Role("witness", "witness", 384, 13),
)


def answers(role: Role, cluster_toml: str = CLUSTER_TOML) -> str:
    """The answers file of one machine."""
    macs = [mac_address(network, role.number) for network in (1, 2)]
    return (
        f'node = "{role.name}"\n'
        f'cluster_key = "{base64.b64encode(KEY).decode()}"\n'
        f"interfaces = {json.dumps(macs)}\n"
        f"cluster = '''\n{cluster_toml}'''\n\n"
        f'[database]\nname = "{DATABASE}"\nuser = "{USER}"\npassword = "{PASSWORD}"\n'
    )
