# SPDX-License-Identifier: GPL-2.0-or-later
"""Which driver looks after which kind of resource."""

from __future__ import annotations

from appliance.config.initiator import InitiatorRole
from appliance.config.model import Address, Cluster, DrbdRole, Filesystem, Resource, Service
from appliance.config.realserver import RealServerRole
from appliance.config.target import TargetRole
from appliance.config.virtual import VirtualService
from appliance.drivers.address import AddressDriver
from appliance.drivers.base import Driver
from appliance.drivers.drbd import Drbd
from appliance.drivers.filesystem import FilesystemDriver
from appliance.drivers.initiator import InitiatorDriver
from appliance.drivers.realserver import RealServerDriver
from appliance.drivers.reservation import key_of, keys_of
from appliance.drivers.service import ServiceDriver
from appliance.drivers.systemd import Systemd
from appliance.drivers.target import TargetDriver
from appliance.drivers.virtual import VirtualDriver


def driver_for(cluster: Cluster, me: str, resource: Resource, systemd: Systemd) -> Driver:
    """The driver of ``resource`` on this machine, which is the node ``me``."""
    match resource:
        case DrbdRole(drbd):
            return Drbd(cluster.drbd_named(drbd))
        case InitiatorRole(initiator):
            key = key_of(cluster.name, cluster.node(me).id)
            return InitiatorDriver(cluster.initiator_named(initiator), key, keys_of(cluster))
        case Filesystem():
            return FilesystemDriver(
                cluster.device_of(resource),
                resource.target,
                resource.type,
                resource.mount_options,
                resource.start_timeout_s,
                resource.stop_timeout_s,
            )
        case Service():
            return ServiceDriver(
                systemd,
                resource.unit,
                resource.probe,
                resource.probe_timeout_s,
                resource.start_timeout_s,
                resource.stop_timeout_s,
            )
        case RealServerRole(name):
            return RealServerDriver(cluster.realserver(name))
        case VirtualService():
            return VirtualDriver(
                systemd, cluster.virtual(resource.virtual), resource.start_timeout_s, resource.stop_timeout_s
            )
        case TargetRole(name):
            return TargetDriver(cluster.target_named(name), {d.name: d.device for d in cluster.drbd})
        case Address():
            network = cluster.networks[resource.link - 1] if resource.link is not None else None
            return AddressDriver(resource.address, resource.interface, network)
