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
    manifest: dict[str, object] = {"name": name, "key": key, "layer": layer, "epoch": 1, "versions": {}}
    manifest["bytes"] = dict.fromkeys(("root.raw", "vmlinuz", "initrd"), 7)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    os.utime(folder, (1_000_000 - age,) * 2)
    return folder


def test_a_build_forgets_old_images_of_its_own_name_only(store: Path) -> None:
    """database-metal begins like database, and has images that somebody needs."""
    metal = built(store, "database-metal", age=100)
    newest, *older = [built(store, "database", age) for age in range(image.KEPT + 2)]
    # Of a damaged one nobody knows the layer any more.
    damaged = built(store, "database", age=99)
    os.truncate(damaged / "manifest.json", 0)
    image._forget_old("database", newest)
    assert sorted(store.iterdir()) == sorted([metal, newest, *older[: image.KEPT]])
    layers_left = {path.name for path in (store.parents[1] / "cache").iterdir()}
    assert layers_left == {*map(image._layer_of, store.iterdir()), f"packages-{damaged.name.split('-')[1]}"}


@pytest.mark.parametrize("file", ["root.raw", "vmlinuz", "initrd", "manifest.json"])
def test_an_image_of_which_a_part_is_missing_is_none(store: Path, file: str) -> None:
    folder = built(store, "witness", age=0)
    assert image._read(folder) is not None
    os.truncate(folder / file, 3)
    assert image._read(folder) is None
