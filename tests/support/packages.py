"""Packages as an installer leaves them: a module, and a dist-info folder with its entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(site: Path, package: str, *, methods: Mapping[str, str], module: tuple[str, str]) -> None:
    """Put a package with one module into a folder that is on the path.

    Args:
        site: The folder.
        package: The package's name.
        methods: The methods that it registers, by name, as `module:Class`.
        module: The module's name and code.
    """
    name, code = module
    (site / f"{name}.py").write_text(code)
    info = site / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "\n".join(f"{method} = {target}" for method, target in methods.items())
    (info / "entry_points.txt").write_text(f"[limbeck.methods]\n{lines}\n")
