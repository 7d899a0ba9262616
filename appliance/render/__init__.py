# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that other programs read, made from `cluster.toml`. Nobody edits them by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from appliance.config.model import Cluster, Service

_environment = Environment(
    loader=PackageLoader("appliance.render"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - configuration files, and every value was checked by config.load
)


def _render(template: str, **values: object) -> str:
    return _environment.get_template(template).render(**values)


def corosync_conf(cluster: Cluster) -> str:
    return _render("corosync.conf.j2", cluster=cluster)


def drbd_resource(cluster: Cluster, name: str) -> str:
    return _render("drbd.res.j2", cluster=cluster, drbd=cluster.drbd_named(name))


def render_all(cluster: Cluster, node: str) -> dict[Path, str]:
    """Every file of node ``node`` with its text; paths are absolute."""
    files = {Path("/etc/corosync/corosync.conf"): corosync_conf(cluster), Path("/etc/hosts"): hosts(cluster)}
    if cluster.node(node).votes_only:
        return files
    files[Path("/etc/drbd.d/global_common.conf")] = _render("global_common.conf.j2", cluster=cluster)
    for drbd in cluster.drbd:
        files[Path(f"/etc/drbd.d/{drbd.name}.res")] = drbd_resource(cluster, drbd.name)
    for group in cluster.groups:
        for resource in group.resources:
            if isinstance(resource, Service):
                path = Path(f"/etc/systemd/system/{resource.unit}.d/50-pairkeep.conf")
                files[path] = _render("service.conf.j2", group=group)
    return files


def hosts(cluster: Cluster) -> str:
    return _render("hosts.j2", cluster=cluster)


def write(files: Mapping[Path, str], root: Path) -> list[Path]:
    """Write below ``root`` what differs, each file whole or not at all; returns the paths that changed."""
    changed = []
    for path, text in files.items():
        target = root / path.relative_to("/")
        if target.exists() and target.read_text() == text:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        with fresh.open("w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(target)
        changed.append(path)
    return changed
