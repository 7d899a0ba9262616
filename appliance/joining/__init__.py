# SPDX-License-Identifier: GPL-2.0-or-later
"""How blank machines become one cluster: one of them shows a one-time code, the others' users type it.

`Host` and `join` are the two sides; `channel` says how they come to trust each other, `records` why a power cut
at any moment leaves no half-made cluster. Whoever uses them calls `resume` before anything else, and `forget`
once cluster.toml is written, or `abandon` to begin anew.
"""

from appliance.joining.code import normalised
from appliance.joining.host import Host
from appliance.joining.joiner import abandon, forget, join, resume
from appliance.joining.messages import Bundle, Candidate, JoinError

__all__ = ["Bundle", "Candidate", "Host", "JoinError", "abandon", "forget", "join", "normalised", "resume"]
