# SPDX-License-Identifier: GPL-2.0-or-later
"""Day two: what a running cluster's administrator changes, keeps and collects."""
