"""The README's curl lines, run as they stand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tests.stack import ROOT, Stack


def readme_lines(stack: Stack) -> str:
    """Returns the README's tested block, with this stack's ports in place of the usual ones."""
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"<!-- These lines are run by .*?-->\n```sh\n(.*?)```", readme, re.DOTALL)
    assert block, "the README has lost its tested block"
    return (
        block[1]
        .replace("http://127.0.0.1:8001", stack.users_url)
        .replace("http://127.0.0.1:8002", stack.analytics_url)
    )


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_lines_of_the_readme_are_true() -> None:
    with Stack(parts=("users", "analytics")) as stack:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", readme_lines(stack)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    account, event, summary = objects_in(done.stdout)
    assert account["role"] == "admin"
    assert event["metadata"] == {"amount": 49}
    assert summary["events_by_type"]["order_placed"] == 1


def objects_in(text: str) -> list[dict[str, object]]:
    """Returns the JSON objects that stand one after the other."""
    decoder, found = json.JSONDecoder(), []
    text = text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found
