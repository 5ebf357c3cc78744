"""Functions of the standard library that a test replaces, for some modules alone."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


def replace_in(
    patch: pytest.MonkeyPatch, library: ModuleType, *modules: str, **functions: Callable[..., Any]
) -> None:
    """Has the modules, named in full, find these in the library; whoever else runs is spared."""
    name = library.__name__
    ours = ModuleType(name)
    ours.__dict__.update(library.__dict__, **functions)
    for module in modules:
        patch.setattr(f"{module}.{name}", ours)
