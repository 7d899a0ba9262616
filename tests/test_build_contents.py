# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import tarfile
from pathlib import Path

from appliance.build.contents import contents


def test_every_byte_is_someone_s(tmp_path: Path) -> None:
    lists = {"libc6:amd64": "/.\n/usr\n/usr/lib/libc.so.6\n", "kmod": "/bin/kmod\n"}
    files = {f"./var/lib/dpkg/info/{name}.list": text.encode() for name, text in lists.items()}
    files |= {"./usr/lib/libc.so.6": b"x" * 900, "./usr/bin/kmod": b"y" * 500, "./etc/hosts": b"z" * 7}
    files |= {"./usr/lib/python3/__pycache__/a.pyc": b"c" * 300, "./boot/initrd.img-6.12": b"i" * 400}
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert contents(tmp_path / "root.tar") == [
        ("libc6", 900),
        ("kmod", 500),
        ("initrd", 400),
        ("byte code of Python", 300),
        ("database of dpkg and apt", sum(len(text) for text in lists.values())),
        ("everything else", 7),
    ]
