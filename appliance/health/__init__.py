# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a real server works, for what keepalived cannot ask by itself. Uses nothing else of Pairkeep."""
