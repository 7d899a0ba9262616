# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages on which a machine becomes part of a cluster: create or join, fencing, service, the others."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from appliance.config.shape import shown
from appliance.firstboot import checks, help_texts
from appliance.firstboot.fields import Choice, Faults, Field, Page, Values
from appliance.firstboot.given import WITH_DEVICES, Given
from appliance.firstboot.machine import Machine


def cluster_page(given: Given) -> Page:
    def creates(values: Values) -> bool:
        return values["action"] == "create"

    def joins(values: Values) -> bool:
        return values["action"] == "join"

    create = () if given.votes_only else (Choice("create", "create one"),)
    return Page(
        key="cluster",
        title="Cluster",
        intro="The first machine creates the cluster and shows a code; with it the others join.",
        help=help_texts.CLUSTER,
        fields=(
            Field(
                "action",
                "This machine will",
                "The first creates, the others join.",
                kind="choice",
                default="join" if given.votes_only else "create",
                choices=(*create, Choice("join", "join one")),
            ),
            Field("name", "Cluster's name", "Like shop.", check=checks.cluster_name, when=creates),
            Field(
                "host",
                "First machine",
                "The address that it shows beside the code.",
                check=checks.host_address,
                when=joins,
            ),
            Field("code", "Code", "Like K7QX-3M9T.", check=checks.join_code, when=joins),
        ),
        check=lambda values: _cluster_faults(given, values),
    )


def _cluster_faults(given: Given, values: Values) -> Faults:
    if values["action"] != "join":
        return {}
    host = ip_address(values["host"])
    if any(host == address.ip for address in given.heartbeats):
        return {"host": f"found {shown(values['host'])}, which is this machine's own, expected the first machine's"}
    return {}


def fencing_page(given: Given) -> Page:
    if given.creates:
        choices: tuple[Choice, ...] = (
            Choice("witness", "a witness"),
            Choice("devices", "devices"),
            Choice("both", "both"),
            Choice("manual", "a person"),
        )
        intro = "When a machine falls silent: who makes sure that it is off, before the other takes over?"
    else:
        choices = (Choice("none", "no device"), Choice("device", "a device"))
        intro = "Can this machine be switched off by others, over the network?"

    def device(values: Values) -> bool:
        return values["how"] in WITH_DEVICES

    return Page(
        key="fencing",
        title="Fencing",
        intro=intro,
        help=help_texts.FENCING,
        fields=(
            Field(
                "how",
                "By",
                "Two machines alone cannot know.",
                kind="choice",
                default=choices[0].value,
                choices=choices,
            ),
            Field(
                "agent",
                "Fence agent",
                "fence_ipmilan for IPMI, as in fence-agents.",
                default="fence_ipmilan",
                check=checks.one_of(given.facts.fence_agents, "a fence agent that this image has"),
                when=device,
            ),
            Field(
                "address",
                "Device's address",
                "Of the controller that switches THIS machine.",
                check=checks.host_address,
                when=device,
            ),
            Field("user", "User", "Who may switch.", check=checks.fence_option("the user's name"), when=device),
            Field(
                "password",
                "Password",
                "Of that user.",
                kind="secret",
                check=checks.fence_option("the user's password", secret=True),
                when=device,
            ),
        ),
        check=lambda values: _fencing_faults(given, values),
    )


def _fencing_faults(given: Given, values: Values) -> Faults:
    if values["how"] not in WITH_DEVICES:
        return {}
    device = ip_address(values["address"])
    own = [address.ip for link in given.facts.links for address in given.addresses(link)]
    if device in own:
        return {"address": f"found {shown(values['address'])}, expected the device's address, not this machine's"}
    return {}


def service_page(given: Given) -> Page:
    nets = " or ".join(str(address.network) for address in given.heartbeats)
    return Page(
        key="service",
        title="Service",
        intro="What clients connect to, wherever it runs.",
        help=help_texts.SERVICE,
        fields=(
            Field(
                "address",
                "Service address",
                f"With its prefix length, in {nets}.",
                check=_either_interface,
            ),
            Field("database", "Database", "Its name, like shop.", check=checks.database_name),
            Field("user", "Database user", "Its name, like shop.", check=checks.database_user),
            Field(
                "password",
                "User's password",
                "At least 8 characters.",
                kind="secret",
                check=checks.database_password,
            ),
        ),
        check=lambda values: _service_faults(given, values),
        live=lambda machine, values: _service_live(given, machine, values),
    )


def _either_interface(value: str) -> str | None:
    return checks.interface_address(6 if ":" in value else 4)(value)


def _service_faults(given: Given, values: Values) -> Faults:
    text = values["address"]
    address = ip_interface(text)
    if any(address.ip == own.ip for link in given.facts.links for own in given.addresses(link)):
        return {"address": f"found {shown(text)}, expected an address that is not this machine's own"}
    networks = [own.network for own in given.heartbeats]
    if address.network in networks:
        return {}
    within = next((net for net in networks if address.ip in net), None)
    if within is not None:
        return {"address": f"found {shown(text)}, expected the prefix length of its network {within}"}
    return {"address": f"found {shown(text)}, expected an address in {' or '.join(map(str, networks))}"}


def _service_live(given: Given, machine: Machine, values: Values) -> Faults:
    address = ip_interface(values["address"])
    for link, own in zip(given.cluster_links, given.heartbeats, strict=True):
        if own.network == address.network and (owner := machine.address_owner(link.name, address.ip)) is not None:
            return {"address": f'found "{address}", which the machine with the card {owner} has already'}
    return {}


def gather_page(given: Given) -> Page:
    wanted = "the second database machine" + (" and the witness" if given.wants_witness else "")
    return Page(
        key="gather",
        title="The other machines",
        intro=f"Start {wanted}, choose to join there, and type:",
        help=help_texts.GATHER,
        kind="gather",
    )
