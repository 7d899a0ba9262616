# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel spreads connections by, read, compared with what is wanted, and told. Pure: no I/O in here."""
