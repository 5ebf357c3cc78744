"""What processes cost the processor: other work on the machine doesn't stretch that."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Returns what a process and all below it have spent, those that have ended included."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / TICKS  # of its own, and of children that it waited for
    return own + sum(processor_seconds(int(each)) for each in children)
