# SPDX-License-Identifier: GPL-2.0-or-later
"""What each side keeps on its disk until the cluster is formed, so that a power cut leaves no half-made one.

It is a two-phase commit whose coordinator is the host:

    host    writes down: attempt A, open, and who takes part           power cut here: nobody has anything
    host    sends the bundle to each
    joiner  writes down: bundle, attempt A, in doubt; says "staged"    power cut before: the host hears no
                                                                      "staged", and gives up for all
    host    when *all* have staged, writes down: attempt A, commit     this one replacement of a file forms
                                                                      the cluster, or it was never formed
    host    sends "commit" to each; its own bundle is good
    joiner  writes down: its bundle counts; says "done"
    host    forgets that joiner; when all are done, and its own cluster.toml is written, everything

- A joiner that has said "staged" cannot decide alone: the host may have decided either way. It is in doubt, asks
  until it is told, over restarts too, and neither uses nor drops the bundle. One that has not said it is free.
- The host is never in doubt. An attempt that is on record as open after a power cut was never decided, so it
  counts as given up: nobody can have been told to commit.
- It answers those who ask for as long as one of them may: while it runs, and after a restart by
  pairkeep-join.service. Only sealed answers count, so nobody else can answer in its place.
- A person may begin anew on the host after the cluster was formed: then there is no such cluster there any more,
  and a joiner in doubt is told so, for with "commit" it would become a node of half a cluster. One that has heard
  "commit" before is a node; nobody can take that back.
- A joiner that lost power after it wrote down that its bundle counts asks nobody any more; if its "done" was
  lost, the host merely waits for a question that never comes, and gives that up after a time.
- Everything is written to a new file, which replaces the old one; so each line above has happened or has not.

What is kept holds the cluster's key: only root may read it, and `forget` and `abandon` delete it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from cattrs.errors import BaseValidationError
from cattrs.preconf.json import make_converter

from appliance.errors import PairkeepError
from appliance.files import replace_file, sync_folder
from appliance.joining.messages import Bundle

FOLDER = Path("/var/lib/pairkeep/joining")
HOSTED, STAGED = "hosted.json", "staged.json"


@dataclass(frozen=True)
class Hosted:
    """The host's. ``members``: session id -> key of those that may still ask about ``attempt``."""

    attempt: str
    decision: Literal["open", "commit", "give up", "begun anew"]
    members: dict[str, bytes] = field(default_factory=dict)
    # None once the host's own cluster.toml holds it.
    bundle: Bundle | None = None


@dataclass(frozen=True)
class Staged:
    """The joiner's. ``committed`` is False while it is in doubt; ``host`` and ``port``: where to ask."""

    host: str
    port: int
    host_name: str
    session: str
    key: bytes
    attempt: str
    bundle: Bundle
    committed: bool = False


_Record = TypeVar("_Record", Hosted, Staged)
_converter = make_converter(forbid_extra_keys=True)


def load_hosted(folder: Path) -> Hosted | None:
    return _load(folder / HOSTED, Hosted)


def save_hosted(folder: Path, record: Hosted) -> None:
    """With the lock, so that nobody who has read the former record writes that back."""
    with _locked(folder):
        _save(folder / HOSTED, record)


def load_staged(folder: Path) -> Staged | None:
    return _load(folder / STAGED, Staged)


def save_staged(folder: Path, record: Staged) -> None:
    _save(folder / STAGED, record)


def drop_staged(folder: Path) -> None:
    _drop(folder / STAGED)


def settle_member(folder: Path, session: str) -> None:
    """``session`` knows how its attempt ended and asks no more; with the last one the record goes."""
    with _locked(folder):
        record = load_hosted(folder)
        if record is None:
            return
        members = {id_: key for id_, key in record.members.items() if id_ != session}
        if members or (record.decision == "commit" and record.bundle is not None):
            _save(folder / HOSTED, replace(record, members=members))
        else:
            _drop(folder / HOSTED)


def settle_host(folder: Path, *, begun_anew: bool = False) -> None:
    """The host needs the bundle no more: its own cluster.toml is written, or a person has ``begun_anew``.

    Then what was formed is not there, and whoever asks is told so.
    """
    with _locked(folder):
        record = load_hosted(folder)
        if record is None:
            return
        if record.members:
            dropped = begun_anew and record.decision == "commit"
            decision = "begun anew" if dropped else record.decision
            _save(folder / HOSTED, replace(record, decision=decision, bundle=None))
        else:
            _drop(folder / HOSTED)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Threads of the wizard, and pairkeep-join.service, may change the host's record at one time."""
    _make(folder)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _load(path: Path, kind: type[_Record]) -> _Record | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        return _converter.structure(json.loads(text), kind)
    except (BaseValidationError, ValueError) as error:
        raise PairkeepError(
            f"{path} is damaged", hint="delete it to set this machine up from the beginning"
        ) from error


def _save(path: Path, record: Hosted | Staged) -> None:
    """What this has returned from survives a power cut; one in between leaves what was there before."""
    _make(path.parent)
    replace_file(path, json.dumps(_converter.unstructure(record)).encode(), 0o600)


def _drop(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
