# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that join, each a process that can lose power before any step that others could notice.

Such steps: a frame on the wire, and whatever changes the disk. They are counted from when the machine has
joined (the host: from when it forms the cluster; before that nothing is kept), and at the given one the process
is gone, with nothing tidied up. See test_joining_power.py.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from appliance.joining import Bundle, Candidate, Host, JoinError, forget, join, joiner, resume
from appliance.joining.__main__ import serve
from appliance.joining.channel import Wire
from tests.joining_site import THREE

BUNDLE = replace(THREE, database=None)
# What `cluster.toml` stands for: this machine is a node now.
DONE = "cluster.toml"
POWER_CUT = 137


def candidate(name: str) -> Candidate:
    return Candidate(name, "worker", "1.2.3", time.time(), ("10.9.1.11/24",), None, None, {})


def host(folder: Path, port: int, cut_at: int | None, told: Connection) -> None:
    """Told by ``told``: each new code; at "finish" it forms the cluster, at "close" it ends."""
    bundle = resume(on_event=_nobody, folder=folder)
    if bundle is None:
        creator = Host(candidate("alpha"), admit=lambda _: None, port=port, folder=folder)

        def tell(kind: str, text: str) -> None:
            told.send((kind, text))
            if kind == "joined":
                told.send(("code", creator.code))

        creator.start(tell)
        told.send(("code", creator.code))
        if told.recv() == "finish":
            _lose_power(cut_at)
            try:
                creator.finish(BUNDLE)
                bundle = BUNDLE
            except JoinError as error:
                told.send(("failed", error.message))
                told.recv()
        creator.close()
    if bundle is not None:
        _become_node(folder, bundle)
        # As pairkeep-join.service does.
        serve(folder, port)


def joining(folder: Path, port: int, name: str, code: str | None, cut_at: int | None) -> None:
    """Without ``code`` it has just been started again."""
    joiner.ASK_AGAIN_S = 0.05

    def on_event(kind: str, _text: str) -> None:
        if kind == "admitted":
            _lose_power(cut_at)

    try:
        if code is None:
            bundle = resume(on_event=_nobody, folder=folder)
        else:
            bundle = join("127.0.0.1", code, candidate(name), on_event=on_event, port=port, folder=folder)
    except JoinError:
        return
    if bundle is not None:
        _become_node(folder, bundle)


def _become_node(folder: Path, bundle: Bundle) -> None:
    assert bundle == BUNDLE
    (folder / DONE).touch()
    forget(folder=folder)


def _nobody(_kind: str, _text: str) -> None:
    pass


def _lose_power(cut_at: int | None) -> None:
    if cut_at is None:
        return
    left, lock = cut_at, threading.Lock()

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            with lock:
                left -= 1
                if left < 0:
                    os._exit(POWER_CUT)
            return step(*args, **kwargs)

        return take

    for place, names in ((Path, ("replace", "unlink", "touch")), (Wire, ("send", "receive"))):
        for name in names:
            setattr(place, name, counted(getattr(place, name)))
