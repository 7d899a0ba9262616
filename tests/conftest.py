# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines differ and are busy: no property test fails for being slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("pairkeep", deadline=None)
settings.load_profile("pairkeep")
