# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairkeep: appliance images in which two machines keep one service alive."""

__version__ = "0.1.0"
