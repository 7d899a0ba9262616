# SPDX-License-Identifier: GPL-2.0-or-later
"""What of Debian's packages stays out of an image. (dpkg(1), --path-exclude)

dpkg keeps these rules in the image, so that an update does not bring back what was left out; and what dpkg
left out it neither misses nor complains of. The last rule that matches a path decides; ``*`` matches slashes.
"""

from __future__ import annotations

# Half of Debian's bytes are manuals, translations and changelogs; nobody reads them on an appliance.
# Licences stay, as they must.
DOCUMENTATION = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
)

# Kinds of hardware and of remote storage that no node of a cluster has a use for: most of the generic kernel.
_MODULES = (
    *("sound", "drivers/media", "drivers/staging", "drivers/comedi", "drivers/iio", "drivers/isdn", "drivers/w1"),
    *("drivers/bluetooth", "net/bluetooth", "drivers/net/wireless", "net/wireless", "net/mac80211", "drivers/nfc"),
    *("drivers/gpu/drm/amd", "drivers/gpu/drm/i915", "drivers/gpu/drm/nouveau", "drivers/gpu/drm/radeon"),
    *("drivers/gpu/drm/xe", "drivers/gpu/drm/gma500", "drivers/infiniband", "drivers/net/wwan", "drivers/parport"),
    *("net/sctp", "net/tipc", "net/rds", "net/smc", "net/ceph", "net/can", "drivers/net/can", "net/batman-adv"),
    *("fs/bcachefs", "fs/btrfs", "fs/ceph", "fs/smb", "fs/ntfs3", "fs/ocfs2", "fs/gfs2", "fs/jfs", "fs/ubifs"),
    *("fs/nilfs2", "fs/afs", "fs/orangefs", "fs/reiserfs", "arch/x86/kvm"),
)

# Each of MariaDB's programs has the whole server linked into it. What serves, dumps, checks and upgrades stays.
_MARIADB = (
    *(
        "aria_dump_log",
        "aria_ftdump",
        "aria_pack",
        "mariadb-conv",
        "mariadb-import",
        "mariadb-plugin",
        "mariadb-show",
    ),
    *("mariadb-slap", "mariadb-tzinfo-to-sql", "mariadb-waitpid", "mariadbd-safe-helper", "myisam_ftdump"),
    *("myisamlog", "myisampack", "replace", "resolve_stack_dump"),
)

# Perl is there because packages' scripts are written in it: without its headers, manuals, and Asian encodings.
_PERL = (
    *(
        "/usr/lib/*/perl/*/CORE/*.h",
        "/usr/share/perl/*.pod",
        "/usr/lib/*/perl/*.pod",
        "/usr/share/perl/*/Unicode/Collate/*",
    ),
    *(f"/usr/lib/*/perl/*/auto/Encode/{name}/*" for name in ("CN", "JP", "KR", "TW")),
)

IMAGE = (
    *DOCUMENTATION,
    *(f"path-exclude=/usr/lib/modules/*/kernel/{folder}/*" for folder in _MODULES),
    *(f"path-exclude=/usr/bin/{program}" for program in _MARIADB),
    *(f"path-exclude={pattern}" for pattern in _PERL),
    # Names of all devices that were ever sold; but what they are called as network cards depends on one of these.
    "path-exclude=/usr/lib/udev/hwdb.d/20-*",
    "path-include=/usr/lib/udev/hwdb.d/20-net-ifname.hwdb",
    # Character sets; UTF-8 and ASCII are in the C library itself.
    "path-exclude=/usr/lib/x86_64-linux-gnu/gconv/*",
    "path-include=/usr/lib/x86_64-linux-gnu/gconv/gconv-modules*",
    "path-include=/usr/lib/x86_64-linux-gnu/gconv/ISO8859-1*.so",
    "path-include=/usr/lib/x86_64-linux-gnu/gconv/CP1252.so",
    "path-include=/usr/lib/x86_64-linux-gnu/gconv/UTF-*.so",
    "path-include=/usr/lib/x86_64-linux-gnu/gconv/UNICODE.so",
)
