# SPDX-License-Identifier: GPL-2.0-or-later
"""The versions of cluster.toml on this node, and which of them it runs by.

Which one is in force is the record's to say. A running supervisor changes over when the record has another one
for good: it puts that one in force here and ends, and the next supervisor starts by it. After a boot, when nothing
runs that an older version would have to look after, the supervisor starts by the record's at once. Whatever power
cut comes between two lines: either the next start begins here again, or the version was in force already.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.config.load import parse, read
from appliance.config.model import Cluster
from appliance.decide.view import FIRST, Configuration, Record
from appliance.drivers import keepalived
from appliance.drivers.drbd import Drbd
from appliance.errors import InputError, PairkeepError
from appliance.lvs.drain import with_drained
from appliance.membership.codec import config_from_value
from appliance.render import DRBD, SECRET, is_of_key, peers, render_all, replication, write
from appliance.run import run

log = logging.getLogger("pairkeep")

FILE, ABOUT = "cluster.toml", "about.json"


def _reload() -> None:
    """What reads the files made from cluster.toml, and is not restarted for it; each, if another fails too."""
    failed: list[str] = []
    for program in (
        lambda: run(["systemctl", "daemon-reload"], timeout_s=90),
        lambda: run(["nft", "-f", "/etc/nftables.conf"], timeout_s=30),
        keepalived.take_up,
    ):
        try:
            program()
        except PairkeepError as error:
            failed.append(error.message)
    if failed:
        raise PairkeepError("; ".join(failed))


@dataclass(frozen=True)
class Versions:
    """``edited``: what people edit. ``folder`` keeps all versions; ``running`` lasts until the next boot."""

    edited: Path = Path("/etc/pairkeep/cluster.toml")
    folder: Path = Path("/var/lib/pairkeep/versions")
    running: Path = Path("/run/pairkeep/config.json")
    root: Path = Path("/")
    reload: Callable[[], None] = _reload

    def start(self, record: Record, me: str) -> tuple[Configuration, str]:
        """What a supervisor that starts runs by: the configuration and its text. Raises PairkeepError."""
        config = self._running()
        if config is None:
            config = record.config
            if config.version:
                # keepalived is not asked: it agreed when the version was applied, and what has gone wrong with it
                # since is in its own log. It is no reason to be no node.
                self._place(config, me, record.drained)
                self._let_read()
            self._say_running(config)
        self._keep_to_key(self.text(config), me)
        return config, self.text(config)

    def put_in_force(self, config: Configuration, me: str, drained: Sequence[str] = ()) -> None:
        """Let the next supervisor run by ``config``, and this node's programs find their files made from it.

        ``drained``: as the record has it. Raises PairkeepError, with no file changed, when keepalived refuses one.
        """
        # With all servers: what is drained has no weight, and keepalived -t takes a quorum that the others cannot
        # reach for a mistake, which it is not.
        keepalived.check(render_all(parse(config.text), me))
        self._place(config, me, drained)
        self._let_read()
        self._say_running(config)

    def catch_up(self) -> str:
        """Let programs that could not read their files try again; returns what still keeps them from it."""
        if self._behind.exists():
            self._let_read()
        return self._behind.read_text() if self._behind.exists() else ""

    def _let_read(self) -> None:
        """All files are there. A rule of somebody's own that nft refuses is no reason to be no node.

        Nor to be one that holds the others up, for nothing is decided until all run by one version.
        """
        try:
            self.reload()
        except PairkeepError as error:
            log.error("%s", error)
            self._write(self._behind, error.message)
        else:
            self._behind.unlink(missing_ok=True)

    def _keep_to_key(self, text: str, me: str) -> None:
        """The cluster's key may be another one than what DRBD's machines know each other by was made from."""
        try:
            if not is_of_key(self.root):
                cluster = parse(text)
                self._write_replication(cluster, replication(cluster, me, self.root))
        except (PairkeepError, OSError) as error:
            # No reason to be no node: what is connected stays so.
            log.error("%s", error)

    def _write_replication(self, cluster: Cluster, files: Mapping[Path, str]) -> None:
        changed = write(files, self.root, SECRET)
        for drbd in cluster.drbd:
            if DRBD / f"{drbd.name}.res" in changed:
                try:
                    secret = peers.shared_secret(peers.read_key(self.root), drbd.name)
                    Drbd(drbd).know_peer_by(peers.ALGORITHM, secret)
                except PairkeepError as error:
                    # One that does not look for its peer reads the file when it is told to.
                    log.warning("%s: %s", drbd.name, error)

    def _place(self, config: Configuration, me: str, drained: Sequence[str]) -> None:
        before = self.text(self._running() or FIRST)
        cluster = parse(config.text)
        wanted, secret = render_all(with_drained(cluster, drained), me), replication(cluster, me, self.root)
        self._keep(config)
        write(wanted, self.root)
        self._write_replication(cluster, secret)
        had = parse(before)
        for path in (*render_all(had, me), *replication(had, me, self.root)):
            if path not in wanted and path not in secret:
                (self.root / path.relative_to("/")).unlink(missing_ok=True)
        draft = self.edited.read_text() if self.edited.exists() else before
        if draft not in (before, config.text):
            # Somebody has begun to edit it here, and applied something else there.
            self._write(self.edited.with_name(f"{self.edited.name}.unapplied"), draft)
        self._write(self.edited, config.text)

    def text(self, config: Configuration) -> str:
        """The cluster.toml of ``config``. What first boot wrote is kept before anyone has edited it."""
        if config.version:
            return config.text
        if not self._first.exists():
            self._write(self._first, read(self.edited))
        return read(self._first)

    def in_force(self, record: Record) -> tuple[int, str]:
        """What this node's files are made from: which version, and its text. Changes nothing."""
        config = self._running() or record.config
        if config.version:
            return config.version, config.text
        return 0, read(self._first if self._first.exists() else self.edited)

    def cluster_in_force(self, record: Record) -> Cluster:
        """What this node runs by, whatever somebody is about to make of its cluster.toml."""
        version, text = self.in_force(record)
        return parse(text, f"version {version} of cluster.toml, which is in force")

    def text_of(self, version: int) -> str:
        """Raises InputError when this node has never had it."""
        path = self.folder / str(version) / FILE
        if not path.exists():
            had = ", ".join(str(v["version"]) for v in self.list()) or "none"
            raise InputError(f"there is no version {version} on this node; there is {had}")
        return read(path)

    def list(self) -> list[dict[str, Any]]:
        """All that this node has had, oldest first: version, who, why, at."""
        return sorted(self._abouts(), key=lambda about: about["version"])

    def _abouts(self) -> Iterator[dict[str, Any]]:
        for path in self.folder.glob(f"*/{FILE}"):
            about = path.with_name(ABOUT)
            found = (
                json.loads(about.read_text()) if about.exists() else {"who": "first boot", "why": "", "at": None}
            )
            yield {"version": int(path.parent.name), **found}

    @property
    def _behind(self) -> Path:
        """Says why programs run by older files than those that are there; until the next boot, as ``running``."""
        return self.running.with_name("behind")

    @property
    def _first(self) -> Path:
        return self.folder / "0" / FILE

    def _keep(self, config: Configuration) -> None:
        home = self.folder / str(config.version)
        about = {"who": config.who, "why": config.why, "at": config.at}
        self._write(home / ABOUT, json.dumps(about))
        self._write(home / FILE, config.text)

    def _running(self) -> Configuration | None:
        if not self.running.exists():
            return None
        return config_from_value(json.loads(self.running.read_text()))

    def _say_running(self, config: Configuration) -> None:
        self._write(self.running, json.dumps(asdict(config)))

    @staticmethod
    def _write(path: Path, text: str) -> None:
        write({Path("/") / path.name: text}, path.parent)
