"""A distillation job: everything that decides its result, and where the result goes.

The front end (a command line today) builds one; `runner.local` runs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from limbeck.backends.base import Backend
from limbeck.diffusion.step_cache import StepCache, check_gate
from limbeck.errors import DataError
from limbeck.methods import METHODS
from limbeck.methods.base import Method
from limbeck.methods.plugins import package_of
from limbeck.pack import PackManifest, Role


@dataclass(frozen=True, kw_only=True)
class DistillJob:
    """One request to distill a source into a set.

    Args:
        method: What is run, with its settings.
        pack: A pack's folder, or the name of a shipped one.
        data: Where the real images are: a folder, a parquet file or folder, an npz file.
        out: The folder to be made. It must not exist.
        backend: What runs the pack's graphs.
        role_backends: What runs a role, where that is another backend.
        bucket: Samples that share a batch. With the seed, it decides an image. None: what the budget allows, 16
            without one.
        budget_nbytes: The most private memory that the process may have; None sets no limit.
        step_cache: When a DiT runs only its outer blocks; the quality gate must have accepted it. None is always the
            whole network.
        skip_unreadable: Leave images out that cannot be decoded, and list them in the manifest.
        resume: Continue what an earlier run of the same job left.
        reading: How the images are read, beside where they are: keyword arguments of `open_source`.
    """

    method: Method
    pack: str
    data: str
    out: Path
    backend: Backend
    role_backends: Mapping[Role, Backend] = field(default_factory=dict)
    bucket: int | None = None
    budget_nbytes: int | None = None
    step_cache: StepCache | None = None
    skip_unreadable: bool = False
    resume: bool = False
    reading: Mapping[str, Any] = field(default_factory=dict)

    def check_step_cache(self, manifest: PackManifest) -> None:
        """Refuse a step cache that the quality gate has not accepted for this pack on this backend.

        Raises:
            ConfigError: With what would work.
        """
        if self.step_cache is not None:
            check_gate(manifest, self.step_cache, self.backend.name)

    def settings(self) -> dict[str, object]:
        """The method's name and every setting, for the manifest; of files that settings name, their digests.

        Raises:
            DataError: Such a file cannot be read.
        """
        package = None if self.method.name in METHODS else package_of(self.method.name)
        settings = asdict(self.method)  # type: ignore[call-overload]
        for one in fields(self.method):  # type: ignore[arg-type]
            if one.metadata.get("place") and Path(settings[one.name]).is_file():
                settings[one.name] = f"sha256:{_sha256(Path(settings[one.name]))}"
        return {"name": self.method.name, **({"package": package} if package else {}), **settings}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
