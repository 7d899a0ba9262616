# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that have the right type and would still mean something else to the programs that read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config.load import ConfigError, parse
from appliance.render import render_all

GOOD = Path(__file__).parent / "config/good"


def text(name: str, *changes: tuple[str, str]) -> str:
    """The good file ``name``, changed."""
    found = (GOOD / f"{name}.toml").read_text()
    for before, after in changes:
        assert before in found
        found = found.replace(before, after)
    return found


def refusal(name: str, *changes: tuple[str, str]) -> str:
    """What is wrong with the good file ``name`` once it is so changed."""
    with pytest.raises(ConfigError) as refused:
        parse(text(name, *changes))
    return refused.value.message


@pytest.mark.parametrize("word", ["disk", "net", "proxy", "on", "options", "yes", "address", "protocol"])
def test_a_word_of_drbd_is_a_name_like_any_other(word: str) -> None:
    cluster = parse(text("shop", ("shopdata", word), ("node.beta", f"node.{word}")))
    found = render_all(cluster, "alpha")[Path(f"/etc/drbd.d/{word}.res")]
    assert f'\nresource "{word}" {{\n' in found
    assert f'\n    on "{word}" {{\n' in found


def test_a_disk_is_not_called_what_means_every_disk() -> None:
    assert refusal("shop", ("shopdata", "all")) == (
        'cluster.toml: drbd.all: found the name "all", expected letters, digits, - and _, a letter first (at most 32), '
        "and not all, which is every resource to drbdadm(8)"
    )


@pytest.mark.parametrize("name", ["localhost", "ip6-localhost", "1", "123"])
def test_a_node_is_not_called_like_every_machine_nor_like_an_address(name: str) -> None:
    assert f'node.{name}: found the name "{name}", expected a host name' in refusal(
        "shop", ("node.beta", f"node.{name}")
    )
