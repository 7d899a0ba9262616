# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: QEMU machines in a network namespace, their faults and their snapshots.

``Lab`` (lab.py) is what the demo, vm-tests and benchmarks use. A long-lived *keeper* process
(keeper.py) owns the namespace and everything that runs in it; when it ends, by whatever cause, the
kernel ends the machines and takes the networks away with it.
"""
