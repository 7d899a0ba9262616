# SPDX-License-Identifier: GPL-2.0-or-later
"""The cluster that demo, tests and benchmarks run: two workers with a database, and a witness."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass

from appliance.lab.networks import mac_address
from appliance.lab.spec import BmcSpec

SERVICE_ADDRESS = "10.9.1.100"
DATA_DISK = "data"
# The lab's machines are reachable from the lab's own namespace only, so these are no secrets.
DATABASE, USER, PASSWORD = "shop", "shop", "pairkeep-lab"
KEY = b"".join(hashlib.sha256(f"pairkeep lab {number}".encode()).digest() for number in range(8))

# The network of the BMCs: that of machine N is number 100 + N there.
MANAGEMENT, BMC_NUMBERS = 3, 100
BMC_USER, BMC_PASSWORD = "pairkeep", "pairkeep-lab"

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


def bmc(role: Role) -> BmcSpec | None:
    """The BMC of a worker; a witness has none, for nothing runs there that has to be stopped."""
    if not role.data_disk_mib:
        return None
    return BmcSpec(MANAGEMENT, f"10.9.{MANAGEMENT}.{BMC_NUMBERS + role.number}", BMC_USER, BMC_PASSWORD)


def fenced(cluster_toml: str = CLUSTER_TOML) -> str:
    """``cluster_toml`` with each worker's BMC as its fence device."""
    for role in ROLES:
        if (spec := bmc(role)) is not None:
            device = (
                f'fence = {{ agent = "fence_ipmilan", ip = "{spec.address}", username = "{spec.user}", '
                f'password_file = "/etc/pairkeep/{_secret(role)}", lanplus = true }}'
            )
            cluster_toml = cluster_toml.replace(f"[node.{role.name}]\n", f"[node.{role.name}]\n{device}\n")
    return cluster_toml


def unwitnessed(cluster_toml: str = CLUSTER_TOML) -> str:
    """``cluster_toml`` without the witness: a person says of a silent machine that it is off."""
    alone, _, rest = cluster_toml.partition("[node.witness]\n")
    alone = alone.replace('name = "shop"\n', 'name = "shop"\nfencing = "manual"\n', 1)
    return alone + rest.partition("\n\n")[2]


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


def fenced_answers(role: Role) -> str:
    """The answers file of one machine whose workers can be fenced: with the management network and secrets."""
    secrets = "".join(f'"{_secret(r)}" = "{spec.password}"\n' for r in ROLES if (spec := bmc(r)) is not None)
    return (
        f"{answers(role, fenced())}"
        f'\n[[network]]\ninterface = "{mac_address(MANAGEMENT, role.number)}"\n'
        f'address = "10.9.{MANAGEMENT}.{role.number}/24"\n'
        f"\n[secrets]\n{secrets}"
    )


def _secret(role: Role) -> str:
    return f"fence-{role.name}.password"
