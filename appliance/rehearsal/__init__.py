# SPDX-License-Identifier: GPL-2.0-or-later
"""The dry run: the cluster as it stands goes through a fault in the simulator, by the very code that decides."""
