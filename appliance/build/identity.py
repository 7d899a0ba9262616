# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of file systems, partitions and machines that follow from what they are for, so that none is random."""

from __future__ import annotations

import uuid

_NAMESPACE = uuid.UUID("6f0cbf43-0d26-4c83-9d3e-9f4f6f1a2d7b")


def uuid_of(key: str, *purpose: str) -> uuid.UUID:
    """The UUID of ``purpose`` in the image whose key is ``key``; without one, of its root file system."""
    return uuid.uuid5(_NAMESPACE, "/".join((key, *purpose)))
