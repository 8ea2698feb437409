"""Programs that the product puts on hosts, loaded as modules: their pure parts decide elsewhere too, and are tested."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from roles.pins import ROOT


def load(path: Path) -> ModuleType:
    """The program at `path` (in the repository) without running its `main`."""
    loader = SourceFileLoader(path.name.replace("-", "_"), str(ROOT / path))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
