# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a block device holds anything at all."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.run import run

EDGE = 1 << 20
SAMPLES = 256
SAMPLE = 4096
# blkid(8): nothing was found. It also says so for a device that cannot be opened, which reading shows.
NOTHING_FOUND = 2


def is_blank(device: Path) -> bool:
    """No signature known to blkid, and zeros in the first and last MiB and at 256 places between.

    Reading all of a large disk would take hours; a disk that passes this and still holds data was
    wiped on purpose. Raises OSError when the device cannot be read.
    """
    if run(["blkid", "-p", "-s", "TYPE", device], check=False, timeout_s=60).returncode != NOTHING_FOUND:
        return False
    handle = os.open(device, os.O_RDONLY)
    try:
        size = os.lseek(handle, 0, os.SEEK_END)
        step = max(SAMPLE, size // SAMPLES // SAMPLE * SAMPLE)
        places = [(0, EDGE), (max(0, size - EDGE), EDGE), *((at, SAMPLE) for at in range(0, size, step))]
        return not any(any(os.pread(handle, length, at)) for at, length in places)
    finally:
        os.close(handle)
