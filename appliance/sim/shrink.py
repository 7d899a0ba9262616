# SPDX-License-Identifier: GPL-2.0-or-later
"""From a script that breaks a rule to a short one that breaks the same rule (delta debugging, Zeller 2002)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from appliance.sim.run import Verdict, run_script
from appliance.sim.script import Act, Round, Script

# With a fault left out everything else happens at other moments, so each candidate gets a few timings to fail in.
TIMINGS = 4
# So many lives at most, about a minute.
LIVES = 400


def shrink(
    failed: Verdict, run: Callable[[Script], Verdict] = run_script, *, lives: int = LIVES
) -> tuple[Script, int]:
    """The shortest script found that breaks the rule that ``failed`` broke, and how many lives that took."""
    best, tried = failed.script, 0
    progress = True
    while progress and tried < lives:
        progress = False
        for candidate in _shorter(best):
            found = None
            for seed in _timings(best.seed, failed.script.seed):
                tried += 1
                verdict = run(replace(candidate, seed=seed))
                if verdict.rule == failed.rule:
                    found = verdict.script
                    break
            if found is not None:
                best, progress = found, True
                break
            if tried >= lives:
                break
    return best, tried


def _timings(last: int, first: int) -> list[int]:
    """The one that failed last, then those of other seeds."""
    return list(dict.fromkeys((last, *range(first, first + TIMINGS))))


def _shorter(script: Script) -> Iterator[Script]:
    """Candidates, those that leave out most first."""
    rounds = script.rounds
    for index in range(len(rounds) - 1):
        yield replace(script, rounds=rounds[index + 1 :])
    for index in range(len(rounds) - 1, -1, -1):
        if len(rounds) > 1:
            yield replace(script, rounds=rounds[:index] + rounds[index + 1 :])
    for index, each in enumerate(rounds):
        for acts in _fewer(each.acts):
            yield replace(script, rounds=(*rounds[:index], replace(each, acts=acts), *rounds[index + 1 :]))
    if script.shape != "lab":
        lab = replace(script, shape="lab")
        if not _names_others(lab):
            yield lab
    for index, each in enumerate(rounds):
        plain = _plainer(each)
        if plain != each:
            yield replace(script, rounds=(*rounds[:index], plain, *rounds[index + 1 :]))


def _fewer(acts: tuple[Act, ...]) -> Iterator[tuple[Act, ...]]:
    if len(acts) > 3:
        half = len(acts) // 2
        yield acts[half:]
        yield acts[:half]
    for index in range(len(acts)):
        if len(acts) > 1:
            yield acts[:index] + acts[index + 1 :]


def _plainer(each: Round) -> Round:
    """Round numbers are easier to read."""
    acts = tuple(replace(act, after=float(round(act.after))) for act in each.acts)
    return replace(each, wait=float(round(each.wait)), acts=acts)


def _names_others(script: Script) -> bool:
    """It speaks of what the cluster of the lab does not have."""
    words = [w for r in script.rounds for a in r.acts for w in (a.node, *a.values) if isinstance(w, str)]
    return any("wiki" in word for word in words)
