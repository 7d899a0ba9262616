# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages of the network cards, and the one on which their new settings are confirmed in time."""

from __future__ import annotations

from ipaddress import ip_address

from appliance.config.model import IPInterface
from appliance.config.schema import MOST_LINKS
from appliance.config.shape import shown
from appliance.firstboot import checks, help_texts
from appliance.firstboot.facts import Link
from appliance.firstboot.fields import Choice, Faults, Field, Page, Values, optional
from appliance.firstboot.given import LINK_PAGE, Given
from appliance.firstboot.machine import Machine

TRIAL = "trial"
TRIAL_S = 60.0


def link_pages(given: Given) -> list[Page]:
    return [_link_page(given, link) for link in given.facts.links]


def _link_page(given: Given, link: Link) -> Page:
    def used(values: Values) -> bool:
        return values["use"] != "unused"

    def static4(values: Values) -> bool:
        return used(values) and values["ipv4"] == "static"

    def static6(values: Values) -> bool:
        return used(values) and values["ipv6"] == "static"

    fields = (
        Field(
            "use",
            "Used for",
            "What this card is there for.",
            kind="choice",
            default=given.usual_use(link),
            choices=(
                Choice("cluster", "the cluster"),
                Choice("other", "another one"),
                Choice("unused", "not used"),
            ),
        ),
        Field(
            "ipv4",
            "IPv4",
            "The cluster needs fixed addresses.",
            kind="choice",
            default="static",
            choices=(Choice("static", "fixed"), Choice("dhcp", "DHCP"), Choice("none", "none")),
            when=used,
        ),
        Field(
            "address4",
            "Address",
            "With its prefix length, like 10.9.1.11/24.",
            check=checks.interface_address(4),
            when=static4,
        ),
        Field(
            "ipv6",
            "IPv6",
            "From the routers' announcements, fixed, or none.",
            kind="choice",
            default="none",
            choices=(Choice("static", "fixed"), Choice("auto", "announced"), Choice("none", "none")),
            when=used,
        ),
        Field(
            "address6",
            "Address",
            "With its prefix length, like fd00:9:1::11/64.",
            check=checks.interface_address(6),
            when=static6,
        ),
        Field(
            "gateway",
            "Gateway",
            "The router to other networks; empty for none.",
            check=optional(checks.each(checks.host_address)),
            when=lambda values: static4(values) or static6(values),
        ),
        Field(
            "dns",
            "Name servers",
            "Their addresses, with blanks between; empty for none.",
            check=optional(checks.each(checks.host_address)),
            when=used,
        ),
    )
    state = "a cable is plugged in" if link.carrier else "NO CABLE"
    return Page(
        key=f"{LINK_PAGE}{link.name}",
        title=f"Network card {link.name}",
        intro=f"{link.mac}, {state}.",
        help=help_texts.LINK,
        fields=fields,
        check=lambda values: _check(given, link, values),
        live=lambda machine, values: _live(machine, link, values),
    )


def _check(given: Given, link: Link, values: Values) -> Faults:
    page = f"{LINK_PAGE}{link.name}"
    now = Given(given.facts, {**given.values, page: values})
    if values["use"] == "cluster" and not now.addresses(link):
        found = "DHCP" if values["ipv4"] == "dhcp" else "no fixed address"
        return {"ipv4": f"found {found}, expected a fixed address: the other machines find this one by it"}
    if values["use"] == "other" and values["ipv4"] == values["ipv6"] == "none":
        return {"ipv4": 'found no address at all, expected one, or "not used" above'}
    if values["use"] == "unused":
        # Only the last page can say it: before, a later card may still be the cluster's.
        last = link == given.facts.links[-1]
        return {"use": _no_link(now)} if last and not now.cluster_links else {}
    if len(now.cluster_links) > MOST_LINKS:
        return {"use": f"found {len(now.cluster_links)} cards for the cluster, expected at most {MOST_LINKS}"}
    if faults := _address_faults(now, link, values):
        return faults
    if link == given.facts.links[-1] and not now.cluster_links:
        return {"use": _no_link(now)}
    return _gateway_fault(now, link, values)


def _no_link(given: Given) -> str:
    names = ", ".join(link.name for link in given.facts.links)
    return f"found no card for the cluster, expected at least one of {names}"


def _address_faults(given: Given, link: Link, values: Values) -> Faults:
    """Against the cards before this one: the later one is the one to be changed."""
    names = {4: "address4", 6: "address6"}
    earlier = given.facts.links[: given.facts.links.index(link)]
    for address in given.addresses(link):
        for other in earlier:
            for theirs in given.addresses(other) if given.use(other) != "unused" else ():
                where = names[address.version]
                if theirs.ip == address.ip:
                    return {where: f"found {shown(values[where])}, which {other.name} has already"}
                if theirs.version == address.version and _overlap(theirs, address):
                    return {
                        where: f"found the network {address.network}, expected one apart from {theirs.network} of "
                        f"{other.name}"
                    }
    return {}


def _overlap(one: IPInterface, other: IPInterface) -> bool:
    return one.network.overlaps(other.network)


def _gateway_fault(given: Given, link: Link, values: Values) -> Faults:
    if not given.addresses(link):
        return {}
    seen: set[int] = set()
    for word in values["gateway"].split():
        gateway = ip_address(word)
        own = [address for address in given.addresses(link) if address.version == gateway.version]
        if not any(gateway in address.network for address in own):
            networks = " or ".join(str(address.network) for address in own or given.addresses(link))
            return {"gateway": f"found {shown(word)}, expected an address in {networks}"}
        if any(gateway == address.ip for address in own):
            return {"gateway": f"found {shown(word)}, expected another machine's address, not this one's"}
        if gateway.version in seen:
            return {"gateway": f"found two IPv{gateway.version} gateways, expected one"}
        seen.add(gateway.version)
        for other in given.facts.links[: given.facts.links.index(link)]:
            theirs = given.get(f"{LINK_PAGE}{other.name}", "gateway").split()
            if given.use(other) != "unused" and any(ip_address(w).version == gateway.version for w in theirs):
                return {"gateway": f"found a second IPv{gateway.version} gateway: {other.name} has one already"}
    return {}


def _live(machine: Machine, link: Link, values: Values) -> Faults:
    """A cable, and nobody with this address."""
    if values["use"] == "unused":
        return {}
    if not machine.carrier(link.name):
        return {"use": f"{link.name} has no carrier: is its cable plugged in, and the switch on?"}
    for mode, where in (("ipv4", "address4"), ("ipv6", "address6")):
        if values[mode] == "static":
            text = values[where]
            owner = machine.address_owner(link.name, ip_address(text.partition("/")[0]))
            if owner is not None:
                return {where: f'found "{text}", which the machine with the card {owner} has already'}
    return {}


def trial_page(given: Given) -> Page:
    used = [link for link in given.facts.links if given.use(link) != "unused"]
    lines = [f"{link.name}: {_in_words(given, link)}" for link in used]
    return Page(
        key=TRIAL,
        title="Keep these network settings?",
        intro="\n".join(("The cards are set up like this now:", "", *(f"  {line}" for line in lines))),
        help=help_texts.TRIAL,
        fields=(
            Field(
                "keep",
                "New settings",
                "Without a word they are undone.",
                kind="choice",
                default="keep",
                choices=(Choice("keep", "keep them"), Choice("undo", "undo them")),
            ),
        ),
        kind="trial",
    )


def _in_words(given: Given, link: Link) -> str:
    page = f"{LINK_PAGE}{link.name}"
    words = [str(address) for address in given.addresses(link)]
    if given.get(page, "ipv4", "static") == "dhcp":
        words.append("DHCP")
    if given.get(page, "ipv6", "none") == "auto":
        words.append("announced IPv6 addresses")
    gateway = given.get(page, "gateway")
    return ", ".join(words) + (f"; gateway {gateway}" if gateway else "")
