# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark of builds edits what it builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.build import bench, folders
from appliance.build.progress import SILENT
from appliance.run import RunError

EDITED = "appliance/supervisor/store.py"


def test_a_copy_of_the_checkout_is_edited_and_built(tmp_path: Path) -> None:
    before = (folders.project_folder() / EDITED).read_text()
    checkout = bench._checkout(tmp_path)
    list_images = bench._builder(checkout, ("list",))
    bench._after_an_edit(checkout, list_images, SILENT)
    assert (checkout / EDITED).read_text() == f"{before}# edited by the benchmark\n"
    assert (folders.project_folder() / EDITED).read_text() == before
    # It is the copy that runs.
    (checkout / "appliance/build/image.py").write_text("raise RuntimeError('of the copy')")
    with pytest.raises(RunError, match="of the copy"):
        list_images()
