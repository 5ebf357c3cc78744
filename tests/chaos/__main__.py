"""Tries every fault under load and prints what users saw, what was lost, how long it took.

    python -m tests.chaos [FAULT …] [--write FILE]

Ends with 1 if anything acknowledged was lost, counted twice or shown to the wrong person.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.chaos import faults
from tests.chaos.platform import Platform
from tests.chaos.trial import HEAD, Row, tried

MARKS = ("<!-- chaos: begin -->", "<!-- chaos: end -->")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    chosen = [each for each in faults.ALL if not options.faults or each.name in options.faults]
    rows: list[Row] = []
    began = time.monotonic()
    with Platform() as platform:
        if platform.without:
            print(f"without the gateway: {platform.without}", flush=True)
        for fault in chosen:
            print(f"{fault.name} …", end=" ", flush=True)
            rows.append(tried(platform, fault))
            print(verdict(rows[-1]), *rows[-1].complaints[:20], sep="\n  ", flush=True)
        agreement = platform.flask("analytics_app", "verify").strip()
    lines = [HEAD, *(row.markdown() for row in rows)]
    print("\n" + "\n".join(lines))
    print(f"\n{len(rows)} faults in {time.monotonic() - began:.0f} s; verify says: {agreement}")
    if options.write:
        write(options.write, "\n".join(lines), MARKS)
    return 0 if all(row.is_good for row in rows) else 1


def verdict(row: Row) -> str:
    if row.skipped:
        return f"not tried: {row.skipped}"
    good = "good" if row.is_good else f"{len(row.complaints)} complaints"
    return f"{good}; others' p99 {row.others()}"


def write(path: Path, figures: str, marks: tuple[str, str]) -> None:
    """Puts the figures between the two marks of a document."""
    begin, end = marks
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{figures}\n{end}{after}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [fault.name for fault in faults.ALL]
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(names))
    parser.add_argument("--write", type=Path, help="a document to put the table into")
    options = parser.parse_args()
    if unknown := set(options.faults) - set(names):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
