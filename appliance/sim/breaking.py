# SPDX-License-Identifier: GPL-2.0-or-later
"""Breaks the code under test on purpose and puts it right again, to see whether the judge notices."""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType
from typing import Any
from unittest import mock

from appliance.errors import InputError
from appliance.sim.life import ROUNDS
from appliance.sim.run import run_one
from appliance.sim.workers import workers


class Broken:
    """What one mutant changes; all of it is undone when `breaking` ends."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._sources: dict[tuple[object, str], str] = {}

    def set(self, owner: object, name: str, value: object) -> None:
        """Replace a name of a module or a class; a function everywhere it was imported to as well."""
        had = getattr(owner, name)
        places: list[object] = [owner]
        if isinstance(owner, ModuleType) and callable(had):
            loaded = [m for key, m in sys.modules.items() if key.startswith("appliance.")]
            places = [m for m in loaded if m.__dict__.get(name) is had]
        for place in places:
            self._stack.enter_context(mock.patch.object(place, name, value))

    def edit(self, owner: ModuleType | type, name: str, old: str, new: str) -> None:
        """Replace ``old`` by ``new`` in the source of a function or a property."""
        had: Any = inspect.getattr_static(owner, name)
        function: Any = had.fget if isinstance(had, property) else had
        if isinstance(had, cached_property):
            function = had.func
        # What has been replaced already has no source of its own to look up.
        source = self._sources.get((owner, name)) or textwrap.dedent(inspect.getsource(function))
        if source.count(old) != 1:
            raise InputError(
                f"{name} has changed: it should say {old!r} once", hint="adapt appliance/sim/mutants.py"
            )
        flags = __future__.annotations.compiler_flag
        made: dict[str, object] = {}
        source = self._sources[owner, name] = source.replace(old, new)
        code = compile(source, f"<{name}, broken>", "exec", flags=flags, dont_inherit=True)
        exec(code, function.__globals__, made)  # noqa: S102
        value = made[name]
        if isinstance(value, cached_property) and isinstance(owner, type):
            value.__set_name__(owner, name)
        self.set(owner, name, value)


@dataclass(frozen=True)
class Mutant:
    """``breaks`` makes the defect; its docstring says what it is. ``shape``: the one in which it shows."""

    name: str
    breaks: Callable[[Broken], None]
    shape: str | None

    @property
    def what(self) -> str:
        return " ".join((self.breaks.__doc__ or "").split())


MUTANTS: dict[str, Mutant] = {}


def mutant(shape: str | None = None) -> Callable[[Callable[[Broken], None]], Callable[[Broken], None]]:
    def register(breaks: Callable[[Broken], None]) -> Callable[[Broken], None]:
        MUTANTS[breaks.__name__] = Mutant(breaks.__name__, breaks, shape)
        return breaks

    return register


@contextmanager
def breaking(broken: Mutant) -> Iterator[None]:
    with ExitStack() as stack:
        broken.breaks(Broken(stack))
        yield


@dataclass(frozen=True)
class Catch:
    """``seed`` and ``rule``: where it was caught first; None when it survived. ``seeds`` were needed."""

    name: str
    seeds: int
    seed: int | None
    rule: str | None


def hunt(name: str, seeds: range, rounds: int = ROUNDS) -> Catch:
    """Try ``seeds`` until one of them catches the mutant."""
    tried = 0
    broken = MUTANTS[name]
    with breaking(broken):
        for seed in seeds:
            tried += 1
            verdict = run_one(seed, rounds=rounds, shape=broken.shape)
            if verdict.rule is not None:
                return Catch(name, tried, seed, verdict.rule)
    return Catch(name, tried, None, None)


def hunt_many(names: Sequence[str], seeds: range, *, jobs: int) -> Iterator[Catch]:
    """In the order of ``names``, in ``jobs`` processes."""
    one = partial(hunt, seeds=seeds)
    if jobs == 1:
        yield from map(one, names)
        return
    with workers(jobs) as pool:
        yield from pool.imap(one, names)
