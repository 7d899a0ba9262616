# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the sources of an image are, and where its products go."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.errors import InputError


def project_folder() -> Path:
    """The checkout: the folder that holds ``appliance/``, ``images/`` and ``overlays/``.

    Raises InputError where Pairkeep is installed without them, as it is inside an appliance.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / "images").is_dir():
        raise InputError(
            f"there is no folder images/ in {folder}", hint="images are built from a checkout of Pairkeep"
        )
    return folder


def build_folder() -> Path:
    """The folder of everything that is built: ``build/`` in the checkout, or what PAIRKEEP_BUILD says."""
    override = os.environ.get("PAIRKEEP_BUILD")
    return Path(override).resolve() if override else project_folder() / "build"


def cache_folder() -> Path:
    """The folder of what can be made again: layers, the tools tree, saved clusters."""
    return build_folder() / "cache"
