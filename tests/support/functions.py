"""The functions of ``functions/``, loaded as Lambda loads them."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from tests.support.template import ROOT

if TYPE_CHECKING:
    from types import ModuleType


def load_function(name: str, module_name: str) -> ModuleType:
    """functions/<name>/app.py, as a new module of this name."""
    path = ROOT / "functions" / name / "app.py"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
