# SPDX-License-Identifier: GPL-2.0-or-later
"""Finished images: which of them stay, and which are whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from appliance.build import image, layers


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where images are."""
    monkeypatch.setenv("PAIRKEEP_BUILD", str(tmp_path))
    store = tmp_path / "images/.store"
    store.mkdir(parents=True)
    return store


def built(store: Path, name: str, age: int) -> Path:
    """An image ``name``, made ``age`` seconds ago of a layer of its own."""
    key = layers.key_of([name, age])
    folder = store / f"{name}-{key}"
    folder.mkdir()
    for file in ("root.raw", "vmlinuz", "initrd"):
        (folder / file).write_bytes(b"content")
    layer = f"packages-{key}"
    (store.parents[1] / "cache" / layer).mkdir(parents=True)
    manifest = {"name": name, "key": key, "layer": layer, "epoch": 1, "root_bytes": 7, "versions": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    os.utime(folder / "manifest.json", (1_000_000 - age,) * 2)
    return folder


def test_a_build_forgets_old_images_of_its_own_name_only(store: Path) -> None:
    """database-metal begins like database, and has images that somebody needs."""
    metal = built(store, "database-metal", age=100)
    newest, *older = [built(store, "database", age) for age in range(image.KEPT + 2)]
    image._forget_old("database", newest)
    assert sorted(store.iterdir()) == sorted([metal, newest, *older[: image.KEPT]])
    layers_left = {path.name for path in (store.parents[1] / "cache").iterdir()}
    assert layers_left == {image._layer_of(path) for path in store.iterdir()}
