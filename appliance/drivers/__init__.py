# SPDX-License-Identifier: GPL-2.0-or-later
"""Drivers: one module for each real thing. They refuse what is unsafe on this machine, whoever asks."""
