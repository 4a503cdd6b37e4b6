"""The server's settings: a TOML file, the flags of `limbeck serve` over it, and what they mean together."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from limbeck.budget import parse_nbytes
from limbeck.data.decode import MAX_PIXELS
from limbeck.errors import ConfigError, PackError
from limbeck.pack import shipped_packs

MIB = 2**20


class ServerSettings(BaseModel):
    """Everything that an operator decides. Sizes may be written as "4GiB".

    Args:
        root: The folder with everything that the server keeps.
        address: Where gRPC is served; "127.0.0.1:0" takes a free port.
        metrics_address: Where metrics and the web page are served; "" serves none.
        insecure: Serve an address that is not this machine's own without TLS and tokens.
        tokens: The file of bearer tokens; None asks for none.
        tls_certificate, tls_key: The server's certificate, PEM.
        tls_client_ca: Clients must have a certificate of this authority.
        reflection: Describe the services to whoever asks.
        devices: One worker runs on each: "cpu" (again for more workers), "cuda:0", …. Where there are both kinds, a job
            repeated is not the same bytes: they do not round alike.
        threads: Threads of one engine on the CPU; None is one a core.
        backends: What jobs may ask for.
        packs: Folders that are packs, or have packs in them, beside the shipped ones.
        data_roots: Folders below which clients may register datasets and name files.
        endpoints: URLs that methods may call, by their beginning.
        budget: The most private memory of a job.
        engines_nbytes: What engines may take that are loaded for direct calls.
        bucket: Rows that direct calls share at most; None is 1 on a CPU, where rows together take as long as one after
            another, and 16 on a GPU.
        call_delay_seconds: How long a direct call waits for others to share its batch.
        calls_waiting: Direct calls that may wait for one worker.
        lease_images: How many images a worker claims at a time; less is lost with it, and turns are shorter.
        turn_seconds: A unit that takes longer stops at a checkpoint if another job waits for its turn.
        max_attempts: How often a unit is tried whose worker died, while its job does not come on.
        jobs_per_worker: After so many jobs a worker's process is replaced.
        idle_seconds: A worker that has worked and then waited so long is replaced, and its memory returned.
        hang_seconds: A worker that makes no step for so long is killed, and its units given to another. It must exceed
            the longest step, such as building an engine for TensorRT.
        drain_seconds: After SIGTERM, how long workers may take to reach the end of a step.
        message_nbytes: The largest message; the front holds it whole.
        upload_nbytes: The largest upload.
        chunk_nbytes: The largest chunk of an upload or download.
        max_pixels: The largest image, width times height.
        trace: Send traces to the OpenTelemetry collector that the environment names.
        log_format: "json", one object a line, or "text".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path
    address: str = "127.0.0.1:50051"
    metrics_address: str = "127.0.0.1:9090"
    insecure: bool = False
    tokens: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    reflection: bool = True
    devices: list[str] = Field(default=["cpu"], min_length=1)
    threads: int | None = Field(default=None, ge=1)
    backends: list[str] = ["onnxruntime"]
    packs: list[Path] = []
    data_roots: list[Path] = []
    endpoints: list[str] = []
    budget: int | None = None
    engines_nbytes: int = Field(default=1024 * MIB, ge=1)
    bucket: int | None = Field(default=None, ge=1, le=1024)
    call_delay_seconds: float = Field(default=0.003, ge=0, le=1)
    calls_waiting: int = Field(default=256, ge=1)
    lease_images: int = Field(default=64, ge=1)
    turn_seconds: float = Field(default=60, ge=0)
    max_attempts: int = Field(default=3, ge=1)
    jobs_per_worker: int = Field(default=16, ge=1)
    idle_seconds: float = Field(default=300, gt=0)
    hang_seconds: float = Field(default=600, gt=0)
    drain_seconds: float = Field(default=30, ge=0)
    message_nbytes: int = Field(default=16 * MIB, ge=MIB)
    upload_nbytes: int = Field(default=256 * 1024 * MIB, ge=1)
    chunk_nbytes: int = Field(default=MIB // 4, ge=4096, le=4 * MIB)
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    trace: bool = False
    log_format: Literal["json", "text"] = "json"

    @field_validator("devices")
    @classmethod
    def _devices(cls, devices: list[str]) -> list[str]:
        if wrong := [one for one in devices if not re.fullmatch(r"cpu|cuda:\d+", one)]:
            raise ValueError(f"'{wrong[0]}' is no device; there is cpu, and cuda:0, cuda:1, …")
        return devices

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: Path) -> Path:
        return root.absolute()

    @field_validator("data_roots")
    @classmethod
    def _folders(cls, folders: list[Path]) -> list[Path]:
        if missing := [one for one in folders if not one.is_dir()]:
            raise ValueError(f"{missing[0]} is no folder")
        return folders

    @field_validator("budget", "engines_nbytes", "message_nbytes", "upload_nbytes", "chunk_nbytes", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        return parse_nbytes(value) if isinstance(value, str) else value

    @classmethod
    def read(cls, file: Path | None, flags: Mapping[str, Any]) -> Self:
        """Settings from a file, with those of `flags` that are not None over it.

        Raises:
            ConfigError: The file cannot be read, or a setting is unknown or does not fit.
        """
        try:
            written = tomllib.loads(file.read_text("utf-8")) if file else {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from error
        given = {name: value for name, value in flags.items() if value is not None}
        try:
            return cls.model_validate({**written, **given})
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}, got {one['input']!r}" for one in error.errors()]
            raise ConfigError("the server's settings cannot work:\n  " + "\n  ".join(lines)) from error

    def find_packs(self) -> dict[str, Path]:
        """Every pack by name: the shipped ones, then those of `packs`.

        Raises:
            PackError: A folder is no pack and has none, or two packs share a name.
        """
        found = dict(shipped_packs())
        for folder in self.packs:
            inside = _packs_in(folder)
            if not inside:
                raise PackError(f"{folder} is no pack and has none in it; make one with limbeck export")
            for one in inside:
                if one.name in found and found[one.name] != one:
                    raise PackError(
                        f"two packs are called '{one.name}': {found[one.name]} and {one}; rename one folder"
                    )
                found[one.name] = one
        return found


def _packs_in(folder: Path) -> Sequence[Path]:
    if (folder / "pack.json").is_file():
        return [folder.resolve()]
    return sorted(path.resolve().parent for path in folder.glob("*/pack.json"))
