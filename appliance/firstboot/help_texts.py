# SPDX-License-Identifier: GPL-2.0-or-later
"""What F1 tells on each page. Blank lines part paragraphs; whoever shows them breaks the lines anew."""

KEYBOARD = """\
The layout of a keyboard that is plugged into this machine, by its name in Linux: us, uk, de, fr-latin1.
On a serial line the keyboard is that of the machine you sit at, and this changes nothing.

The language is that of the system's programs; Pairkeep itself speaks English."""

ROLE = """\
Database: one of the two machines that hold the data and run the service. It needs a data disk.

Witness: a machine that only votes, so that two that lost each other know who goes on. It runs nothing and needs
neither disk nor speed, but has to be elsewhere: not on the same host as one of the two."""

NAME = """\
Small letters, digits and hyphens. Each machine of a cluster has its own: alpha, beta, witness.

It stands in the status, in the logs and in cluster.toml."""

LINK = """\
The machines of a cluster hear each other over one or more networks. Two are better: a cut cable is then no
reason to doubt. Each of these cards needs a fixed address, and the addresses of all machines in one network
differ only in their last part. The service address lives in one of them, and the last one carries the copies of
all writes, so give it the fastest card.

"another one" is for a card that the cluster does not use, such as the one of the fence devices; it may have its
address by DHCP. "not used" leaves a card down.

The gateway is what leads to other networks, and only one card of the machine needs one. Two, an IPv4 and an
IPv6 one, are written with a blank between."""

TRIAL = """\
If you came here over the network, and can read this, the new settings work.

Unless you keep them in time, the cards are set up again as they were before, and you come back to the first of
them."""

DISK = """\
The whole disk is used: DRBD copies it block by block to the other machine, whose disk should be as large; the
smaller one counts.

A disk that is mounted or otherwise in use is never offered.

What is on the disk is lost. So one that is not blank has to be wiped, and for that you type its name."""

TIME = """\
Names or addresses of time servers (NTP), with blanks between. Without one, the clock of the machine itself is
believed.

When a server answers, this machine's clock is compared with it. One that is off by more than a minute has to be
set first, since a cluster refuses machines whose clocks differ so much."""

ADMIN = """\
The password is for the console, and for nothing else: over the network only keys are let in.

Keys are lines as they stand in your id_ed25519.pub, one below the other. Without any, nobody comes in over the
network; with no password, the console lets nobody in."""

CLUSTER = """\
On the first of the two database machines choose to create. It then shows a code of eight letters and digits. On
every other machine choose to join, and type the first one's address and the code.

The code lasts for a quarter of an hour and for one machine; after three wrong tries it is worth nothing. Nobody
who listens learns it, or the keys that are handed over."""

FENCING = """\
A witness: a third machine votes. One that was cut off has lost the vote, and its watchdog resets it.

Devices: the machines switch each other off, by a management controller (IPMI) or a switchable socket. Each of
the two needs its own. Nobody else is asked, and the takeover is quick.

Both: devices, and if they fail the witness and the watchdog.

A person: nothing takes over from a silent machine until you have said that it is off. For trying things out."""

SERVICE = """\
The service address moves with the service: clients know only this one. It lies in one of the cluster's networks,
and is no machine's own.

The database and its user are made with the cluster; the user may do everything in that database, from anywhere."""

GATHER = """\
Each machine that joins is checked: its version, its clock, its networks, its disk. What is wrong is told here
and there, and can be put right there without beginning again.

A code lasts for one machine and a quarter of an hour. The next one is shown by itself."""

SUMMARY = """\
Nothing but the network cards and the keyboard has been changed so far. Go back to change anything.

From here on the machine is set up. If power fails meanwhile, it goes on by itself when it is back."""

KEYS = """\
Keys: Tab and the arrows go from field to field, Enter goes on, the blank chooses. F1 shows this text, Esc leaves
it. The buttons do the same where a terminal has no such keys."""
