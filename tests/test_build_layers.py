# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest

from appliance.build import bootstrap, layers, requirements, tools
from appliance.build.progress import Progress
from appliance.errors import InputError
from appliance.run import RunError


def quiet() -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    return Progress(stream), stream


def make(folder: Path) -> None:
    (folder / "root.tar").write_bytes(b"content")


def test_a_layer_is_made_once(tmp_path: Path) -> None:
    progress, _ = quiet()
    assert layers.ensure(tmp_path / "layer", make, progress, what="layer")
    assert not layers.ensure(tmp_path / "layer", make, progress, what="layer")


def test_a_layer_that_is_made_anew_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    progress, _ = quiet()
    layers.ensure(tmp_path / "layer", make, progress, what="layer")

    def fails(_: Path) -> None:
        assert layers.damage(tmp_path / "layer") is None
        raise RuntimeError

    with pytest.raises(RuntimeError):
        layers.ensure(tmp_path / "layer", fails, progress, what="layer", anew=True)
    assert layers.damage(tmp_path / "layer") is None
    assert layers.ensure(tmp_path / "layer", make, progress, what="layer", anew=True)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda folder: (folder / "root.tar").write_bytes(b"cantent"), "root.tar has changed"),
        (lambda folder: (folder / "root.tar").write_bytes(b"cont"), "root.tar has changed"),
        (lambda folder: (folder / "root.tar").unlink(), "root.tar is missing"),
        (lambda folder: (folder / "sums.json").unlink(), "sums.json is missing"),
        (lambda folder: (folder / "sums.json").write_text("[]"), "sums.json is unreadable"),
        (lambda folder: (folder / "sums.json").write_text("{"), "sums.json is unreadable"),
    ],
)
def test_a_damaged_layer_is_made_again_and_said_so(tmp_path: Path, harm: object, why: str) -> None:
    progress, stream = quiet()
    layers.ensure(tmp_path / "layer", make, progress, what="layer")
    assert callable(harm)
    harm(tmp_path / "layer")
    assert layers.ensure(tmp_path / "layer", make, progress, what="layer")
    assert f"the cached layer is damaged ({why}): making it again" in stream.getvalue()
    assert layers.damage(tmp_path / "layer") is None


def test_a_failed_build_leaves_the_last_good_one(tmp_path: Path) -> None:
    target = tmp_path / "image"
    with layers.atomic_folder(target) as making:
        (making / "file").write_text("good")
    with pytest.raises(RuntimeError), layers.atomic_folder(target) as making:
        (making / "file").write_text("bad")
        raise RuntimeError
    assert (target / "file").read_text() == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_a_folder_gets_its_name_when_its_files_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power loss leaves names with nothing behind them, which would count as whole."""
    target = tmp_path / "image"
    for text in ("first", "second"):
        asked: list[bool] = []

        def settle(folder: Path, text: str = text, asked: list[bool] = asked) -> None:
            asked.append((folder / "file").read_text() == text)
            # What was there before is whole until then.
            assert not target.exists() if text == "first" else (target / "file").read_text() == "first"

        monkeypatch.setattr(layers, "settle", settle)
        with layers.atomic_folder(target) as making:
            (making / "file").write_text(text)
        assert asked == [True]
        assert (target / "file").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_files_can_be_had_on_the_disk(tmp_path: Path) -> None:
    layers.settle(tmp_path)


def test_remains_of_killed_builds_are_swept_and_those_of_others_stay(tmp_path: Path) -> None:
    key = layers.key_of("what it is made of")
    (tmp_path / f".image-{key}.abcd").mkdir()
    stays = [f".image-{key}.lock", f".image-metal-{key}.abcd", ".other.abcd", f"image-{key}"]
    (tmp_path / stays[0]).touch()
    for name in stays[1:]:
        (tmp_path / name).mkdir()
    layers.sweep(tmp_path, f"image-{layers.ANY_KEY}")
    assert sorted(path.name for path in tmp_path.iterdir()) == stays


def test_missing_programs_are_all_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "SEARCH_PATH", "/nonexistent")
    with pytest.raises(InputError) as error:
        requirements.require_programs(("mmdebstrap", "newuidmap", "newgidmap"))
    assert error.value.message == "missing on this host: mmdebstrap, newuidmap, newgidmap"
    assert error.value.hint == "apt-get install mmdebstrap uidmap"


def test_too_little_space_says_found_and_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the test needs 1000000000 MiB below .*, found \d+ MiB free"):
        requirements.require_space(tmp_path / "not/there/yet", 10**9, "the test")


def test_the_mmdebstrap_command() -> None:
    argv = bootstrap.command(
        Path("out.tar"),
        variant="minbase",
        mode="unshare",
        suite="trixie",
        source_lines=bootstrap.sources("trixie", "http://m/debian", "http://m/security"),
        path_rules=["path-exclude=/usr/share/man/*"],
        packages=["udev", "dbus"],
        before_packages=["#!/bin/sh\necho a"],
        after_packages=["#!/bin/sh\necho b"],
    )
    assert argv[:4] == ("mmdebstrap", "--variant=minbase", "--mode=unshare", "--format=tar")
    assert "--essential-hook=#!/bin/sh\necho a" in argv
    assert "--dpkgopt=path-exclude=/usr/share/man/*" in argv
    assert argv[-7:] == (
        "--customize-hook=#!/bin/sh\necho b",
        "--include=udev,dbus",
        "trixie",
        "out.tar",
        "deb http://m/debian trixie main",
        "deb http://m/debian trixie-updates main",
        "deb http://m/security trixie-security main",
    )


# What is left of mmdebstrap here: it keeps its files where TMPDIR says, and the disk is full.
STAND_IN = """#!/bin/sh
[ "$1" != --unshare-helper ] || { shift; exec "$@"; }
mkdir "$TMPDIR/mmdebstrap.X" && touch "$TMPDIR/mmdebstrap.X/file" && ls -d "$TMPDIR"/../pairkeep-* >&2
echo "E: No space left on device" >&2
kill -HUP 0
sleep 10
"""


def test_a_disk_that_fills_is_told_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, temporary = tmp_path / "bin", tmp_path / "tmp"
    for folder in (programs, temporary):
        folder.mkdir()
    (programs / "mmdebstrap").write_text(STAND_IN)
    (programs / "mmdebstrap").chmod(0o755)
    monkeypatch.setattr(bootstrap, "SEARCH_PATH", f"{programs}:{requirements.SEARCH_PATH}")
    monkeypatch.setattr(bootstrap, "_ALONE", ())
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    killed, others = (
        temporary / f"pairkeep-{layers.key_of(str(tmp_path / layer))}.left"
        for layer in ("packages-1", "packages-2")
    )
    for folder in (killed, others):
        (folder / "mmdebstrap.Y/proc").mkdir(parents=True)
    with pytest.raises(RunError, match="No space left on device") as failure:
        bootstrap.bootstrap(
            tmp_path / "root.tar",
            tmp_path / "packages-1",
            variant="minbase",
            suite="trixie",
            source_lines=(),
            path_rules=(),
            packages=("udev",),
        )
    # Before it began, what a killed build of this layer had left was gone; another one may be working on its own.
    assert killed.name not in failure.value.output
    assert list(temporary.iterdir()) == [others]


@pytest.mark.parametrize(
    "release", [{}, {"ID": "ubuntu", "VERSION_ID": "26.04"}, {"ID": "debian", "VERSION_ID": "12"}]
)
def test_older_and_other_hosts_need_a_tools_tree(release: dict[str, str]) -> None:
    assert not tools.host_suffices(release)


def test_what_a_killed_build_left_of_a_tools_tree_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRKEEP_BUILD", str(tmp_path))
    monkeypatch.setattr(tools, "host_suffices", lambda _: False)
    monkeypatch.setattr(tools, "check", lambda: None)
    tree = tools.tree_folder()
    (tree.parent / f".{tree.name}.abcd1234").mkdir(parents=True)
    monkeypatch.setattr(tools, "_make_tree", lambda making, _: (making / "made").touch())
    assert tools.ensure(quiet()[0]).tree == tree
    assert sorted(path.name for path in tree.parent.iterdir()) == [".tools.lock", tree.name]


def test_programs_of_a_tree_start_through_its_own_loader(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/sbin").mkdir()
    (tmp_path / "usr/bin/qemu-system-x86_64").touch()
    (tmp_path / "usr/sbin/mke2fs").touch()
    programs = tools.Tools(tmp_path)
    libraries = f"{tmp_path}/usr/lib/x86_64-linux-gnu"
    loader = (f"{libraries}/ld-linux-x86-64.so.2", "--library-path", libraries, "--argv0")
    assert programs.argv("mke2fs") == (*loader, "mke2fs", f"{tmp_path}/usr/sbin/mke2fs")
    firmware = ("-L", f"{tmp_path}/usr/share/qemu", "-L", f"{tmp_path}/usr/share/seabios")
    assert programs.qemu_argv()[-4:] == firmware
    assert programs.environment("python3.13") == {"PYTHONHOME": f"{tmp_path}/usr"}
    with pytest.raises(InputError, match="no program mcopy"):
        programs.argv("mcopy")
    assert programs.path("usr/sbin/mke2fs") == tmp_path / "usr/sbin/mke2fs"
    with pytest.raises(InputError, match="missing on this host: .*/boot.img"):
        programs.path("usr/lib/grub/i386-pc/boot.img")


def test_progress_prints_plain_lines_off_a_terminal() -> None:
    progress, stream = quiet()
    with progress.phase("outer"):
        progress.note("[x] kept")
        with progress.phase("inner"):
            pass
    with pytest.raises(RuntimeError), progress.phase("broken"):
        raise RuntimeError
    lines = stream.getvalue().splitlines()
    assert lines[0] == "  [x] kept"
    assert lines[1].startswith("  inner: done, 0.0 s")
    assert lines[2].startswith("outer: done, ")
    assert lines[3].startswith("broken: failed, ")
    assert set(progress.seconds) == {"outer", "inner", "broken"}
