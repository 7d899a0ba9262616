# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that a node's programs read, made from `cluster.toml`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.config.initiator import initiator_name
from appliance.config.model import Cluster, IPAddress, Node, Service
from appliance.config.virtual import Virtual, Vrrp
from appliance.files import replace_file
from appliance.render import lvs, peers
from appliance.render.ports import corosync_port, service_ports, tunnels

if TYPE_CHECKING:
    import jinja2


DRBD = Path("/etc/drbd.d")
# The mode of files that hold one.
SECRET = 0o600


def endpoint(address: IPAddress, port: int) -> str:
    """``address`` and ``port`` as drbd.conf(5) writes them after its address family."""
    return f"ipv6 [{address}]:{port}" if address.version == 6 else f"ipv4 {address}:{port}"


def closed_rules() -> str:
    """The nftables rules of a machine that is no node yet; overlays/base has them as a file."""
    return _text("nftables.conf", cluster=None)


def render_all(cluster: Cluster, node_name: str) -> dict[Path, str]:
    """Absolute path -> text of every file that node ``node_name`` needs, but those that `replication` makes.

    Files of DRBD and of services are for those that can run groups only.
    """
    node = cluster.node(node_name)
    files = {
        Path("/etc/corosync/corosync.conf"): _text("corosync.conf", cluster=cluster),
        Path("/etc/hosts"): _text("hosts", cluster=cluster),
        Path("/etc/nftables.conf"): _rules(cluster, node),
    }
    if node.votes_only:
        return files
    files[DRBD / "global_common.conf"] = _text("global_common.conf")
    if cluster.initiators:
        name = initiator_name(cluster.name, node.name)
        files[Path("/etc/iscsi/initiatorname.iscsi")] = f"InitiatorName={name}\n"
    for group in cluster.groups:
        for resource in group.resources:
            if isinstance(resource, Service):
                path = Path(f"/etc/systemd/system/{resource.unit}.d/50-pairkeep.conf")
                files[path] = _text("service.conf")
    if lvs.is_director(cluster, node):
        files |= _director(cluster, node)
    return files


def replication(cluster: Cluster, node_name: str, root: Path = Path("/")) -> dict[Path, str]:
    """Absolute path -> text of the files that hold a secret, which is made from the cluster's key below ``root``.

    They are for root only: write them with `SECRET`. Raises InputError when the key is not there.
    """
    if cluster.node(node_name).votes_only or not cluster.drbd:
        return {}
    key = peers.read_key(root)
    return {
        DRBD / f"{drbd.name}.res": _text(
            "resource.res",
            cluster=cluster,
            drbd=drbd,
            algorithm=peers.ALGORITHM,
            shared_secret=peers.shared_secret(key, drbd.name),
        )
        for drbd in cluster.drbd
    }


def is_of_key(root: Path = Path("/")) -> bool:
    """Whether the files of `replication` that are there are made from the key that is there. Raises InputError."""
    found = sorted((root / DRBD.relative_to("/")).glob("*.res"))
    key = peers.read_key(root) if found else b""
    return all(peers.shared_secret(key, path.stem) in path.read_text() for path in found)


def _director(cluster: Cluster, node: Node) -> dict[Path, str]:
    """One configuration for what VRRP moves, and one for each service that a group of the cluster moves."""

    def keepalived(virtuals: tuple[Virtual, ...], vrrps: tuple[Vrrp, ...]) -> str:
        return _text("keepalived.conf", **lvs.values(cluster, node, virtuals, vrrps))

    files = {lvs.NETWORKS: "".join(f"{network}\n" for network in cluster.directors_networks)}
    if cluster.director.sync:
        files[lvs.SYNC] = lvs.sync(cluster)
    if cluster.vrrps:
        files[lvs.MAIN] = keepalived(lvs.own(cluster, "vrrp"), cluster.vrrps)
    for virtual in lvs.own(cluster, "cluster"):
        files[lvs.VIRTUALS / f"{virtual.name}.conf"] = keepalived((virtual,), ())
    return files


def _rules(cluster: Cluster, node: Node) -> str:
    """What a node answers to: a witness has neither replication nor services."""
    drbds = () if node.votes_only else cluster.drbd
    director = lvs.is_director(cluster, node)
    sync_link = cluster.networks.index(cluster.sync_network) + 1 if director and cluster.director.sync else None
    return _text(
        "nftables.conf",
        cluster=cluster,
        drbds=drbds,
        worker_links=sorted({drbd.link for drbd in drbds} | ({sync_link} if sync_link else set())),
        lvs=lvs.rules(cluster) if director else None,
        sync_link=sync_link,
        sync_port=lvs.SYNC_PORT,
        services=() if node.votes_only else tuple(service_ports(cluster)),
        tunnels=() if node.votes_only else tunnels(cluster),
    )


def write(files: Mapping[Path, str], root: Path, mode: int = 0o644) -> tuple[Path, ...]:
    """Put ``files`` below ``root``; returns those that were changed.

    Each is replaced whole: after a power cut the old or the new one is there. One that has the wanted
    text already, and that nobody may read or change whom ``mode`` keeps from it, is not touched.
    """
    changed: list[Path] = []
    for path, text in files.items():
        place = root / path.relative_to("/")
        if place.is_file() and place.read_text() == text and not place.stat().st_mode & 0o777 & ~mode:
            continue
        replace_file(place, text.encode(), mode)
        changed.append(path)
    return tuple(changed)


def _text(template: str, **values: object) -> str:
    return _templates().get_template(f"{template}.j2").render(**values)


@functools.cache
def _templates() -> jinja2.Environment:
    import jinja2  # A supervisor that starts can do without, and it takes a seventh of its start.

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (configuration files, not HTML; values have passed config.schema)
    )
    found.globals |= {"endpoint": endpoint, "corosync_port": corosync_port}
    return found
