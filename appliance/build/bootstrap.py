# SPDX-License-Identifier: GPL-2.0-or-later
"""mmdebstrap: Debian packages into a tar file, as root or as an ordinary user."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from appliance.build import layers
from appliance.build.requirements import SEARCH_PATH
from appliance.run import MORTAL, run

# As root mmdebstrap mounts /proc and /sys into its folder in /tmp. Killed, it would leave them there, where
# whoever clears /tmp meets them; in namespaces of its own they go with it (unshare(1), --kill-child).
_ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def sources(suite: str, mirror: str, security_mirror: str | None) -> tuple[str, ...]:
    """The lines of sources.list for a Debian release."""
    lines = (f"deb {mirror} {suite} main", f"deb {mirror} {suite}-updates main")
    security = () if security_mirror is None else (f"deb {security_mirror} {suite}-security main",)
    return (*lines, *security)


def command(
    target: Path,
    *,
    variant: str,
    mode: str,
    suite: str,
    source_lines: Sequence[str],
    path_rules: Sequence[str],
    packages: Sequence[str],
    before_packages: Sequence[str] = (),
    after_packages: Sequence[str] = (),
) -> tuple[str, ...]:
    """The mmdebstrap command that writes the tar file ``target``.

    Hooks are passed as text, not as paths: in a user namespace the scripts' own folder may be closed.
    (mmdebstrap(1): a hook with shell metacharacters is run by ``sh -c`` with the root as ``$1``.)
    """
    return (
        "mmdebstrap",
        f"--variant={variant}",
        f"--mode={mode}",
        "--format=tar",
        "--skip=output/dev",  # the kernel fills /dev, and these would bear the time of the build
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt={rule}" for rule in path_rules),
        *(f"--essential-hook={script}" for script in before_packages),
        *(f"--customize-hook={script}" for script in after_packages),
        f"--include={','.join(packages)}",
        suite,
        str(target),
        *source_lines,
    )


def bootstrap(
    target: Path,
    layer: Path,
    *,
    variant: str,
    suite: str,
    source_lines: Sequence[str],
    path_rules: Sequence[str],
    packages: Sequence[str],
    before_packages: Sequence[str] = (),
    after_packages: Sequence[str] = (),
) -> None:
    """Run mmdebstrap into the tar file ``target``; takes up to a minute or two. Raises RunError.

    ``layer`` is what it is made for. Whoever calls holds that one's lock, for what killed builds of it left goes.
    """
    is_root = os.geteuid() == 0
    argv = command(
        target,
        variant=variant,
        mode="root" if is_root else "unshare",
        suite=suite,
        source_lines=source_lines,
        path_rules=path_rules,
        packages=packages,
        before_packages=before_packages,
        after_packages=after_packages,
    )
    # debconf must not ask. With INITRD=No the kernel's package makes no initrd: each of three would be thrown away
    # for the next one. (initramfs-tools: kernel/postinst.d)
    quiet = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "INITRD": "No"}
    with _work_folder(layer) as work:
        # A group, since its main process leaves the work to others, and waits for them when it is told to end. When
        # it cannot write it sends a SIGHUP to its whole group, which must not be that of `make` and ours.
        run(
            (*MORTAL, *(_ALONE if is_root else ()), *argv),
            env={"PATH": SEARCH_PATH, "TMPDIR": str(work), **quiet},
            group=True,
        )


@contextmanager
def _work_folder(layer: Path) -> Iterator[Path]:
    """A folder for mmdebstrap's temporary ones. Among the system's, since the ids of both modes may enter there."""
    home, prefix = Path(tempfile.gettempdir()), f"pairkeep-{layers.key_of(str(layer))}."
    for left in home.glob(f"{prefix}*"):
        # Whoever else may write there could have made one of that name.
        if left.lstat().st_uid == os.geteuid():
            _remove(left)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
    try:
        work.chmod(0o1777)
        yield work
    finally:
        _remove(work)


def _remove(work: Path) -> None:
    """Delete a work folder. What cannot go yet, for one that was killed still writes there, goes another time."""
    if os.geteuid() != 0 and any(work.iterdir()):
        # It belongs to ids that were lent to this user, in whose name mmdebstrap runs a program.
        words = ("mmdebstrap", "--unshare-helper", "find", work, "-mindepth", "1", "-delete")
        run(words, env={"PATH": SEARCH_PATH}, cwd=work, check=False)
    shutil.rmtree(work, ignore_errors=True)
