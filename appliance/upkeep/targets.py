# SPDX-License-Identifier: GPL-2.0-or-later
"""What a new cluster.toml changes of targets and LUNs, and what of that initiators must never see.

The driver brings a running target to what is wanted while sessions go on: LUNs, ACLs and portals come and go, a
LUN grows. What a session or a LUN keeps from its beginning needs a stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from appliance.config.model import Cluster, Group
from appliance.config.target import Lun, Target

# By these an initiator knows a disk for the same one, whatever path it comes by.
IDENTITY = ("target", "number", "serial", "vendor", "product", "revision", "device", "file")
# What sessions keep from their beginning.
KEPT = ("state", "queue_depth")
ANEW = "apply without the LUN first, once no initiator uses it, and then with it"


def lines(old: Cluster, new: Cluster) -> Iterator[str]:
    """One a change."""
    before, after = {t.name: t for t in old.targets}, {t.name: t for t in new.targets}
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in before or name not in after:
            yield f"target.{name} {'goes' if name in before else 'is new'}"
            continue
        one, other = before[name], after[name]
        for key in ("iqn", *KEPT):
            yield from _changed(f"target.{name}.{key}", getattr(one, key), getattr(other, key))
        yield from _changed(f"target.{name}.portals", *(", ".join(map(str, t.portals)) for t in (one, other)))
        yield from _acls(one, other)
    yield from _luns(old, new)


def refused(old: Cluster, new: Cluster) -> Iterator[str]:
    """What cannot change while the cluster runs, and why."""
    after = {t.name: t for t in new.targets}
    for target in old.targets:
        if target.name in after and target.iqn != after[target.name].iqn:
            yield (
                f"target.{target.name}.iqn cannot change while the cluster runs: initiators are logged in to it "
                "by that name; to have another, apply a target of another name"
            )
    luns = _all(new)
    for name, lun in _all(old).items():
        other = luns.get(name)
        if other is None:
            continue
        for key in IDENTITY:
            if getattr(lun, key) != getattr(other, key):
                yield (
                    f"lun.{name}.{key} cannot change from {_said(getattr(lun, key))} to "
                    f"{_said(getattr(other, key))} under initiators that may be using the LUN: by that they know "
                    f"it for the same disk; {ANEW}"
                )
        if lun.size_mib is not None and other.size_mib is not None and other.size_mib < lun.size_mib:
            yield (
                f"lun.{name}.size_mib cannot change from {lun.size_mib} to {other.size_mib}: a LUN can only grow, "
                "or what initiators have stored at its end is lost"
            )


def has_to_stop(old: Cluster, new: Cluster, group: Group) -> bool:
    """A target that ``group`` keeps has changed in what its sessions or LUNs keep from their beginning."""
    after = {t.name: t for t in new.targets}
    return any(name in after and _differ(old.target_named(name), after[name]) for name in group.targets)


def _differ(old: Target, new: Target) -> bool:
    """In what cannot be taken up while the target runs."""
    return any(getattr(old, key) != getattr(new, key) for key in KEPT)


def _acls(old: Target, new: Target) -> Iterator[str]:
    before, after = {a.initiator: a for a in old.acls}, {a.initiator: a for a in new.acls}
    for name in [*before, *(name for name in after if name not in before)]:
        where = f"target.{old.name}: initiator {name}"
        if name not in before or name not in after:
            yield f"{where} {'is shut out' if name in before else 'is let in'}"
            continue
        yield from _changed(f"{where}, LUNs", *(", ".join(a[name].luns) for a in (before, after)))
        # Of how it proves itself, no word more than that: names of users and files are not for everyone's eyes.
        if [getattr(before[name], key) for key in _PROOF] != [getattr(after[name], key) for key in _PROOF]:
            yield f"{where}: its CHAP changes"


_PROOF = ("user", "password_file", "target_user", "target_password_file")


def _luns(old: Cluster, new: Cluster) -> Iterator[str]:
    before, after = _all(old), _all(new)
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in before or name not in after:
            yield f"lun.{name} {'goes' if name in before else 'is new'}"
            continue
        for field in fields(Lun):
            yield from _changed(
                f"lun.{name}.{field.name}", getattr(before[name], field.name), getattr(after[name], field.name)
            )


def _all(cluster: Cluster) -> dict[str, Lun]:
    return {lun.name: lun for target in cluster.targets for lun in target.luns}


def _changed(key: str, old: object, new: object) -> Iterator[str]:
    if old != new:
        yield f"{key}: {_said(old)} -> {_said(new)}"


def _said(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
