"""What a client may ask for: the settings of a job as plain values, checked before the job is acknowledged.

A spec names datasets and distilled sets by resource (`datasets/…`, `distilledSets/…`), and packs by name; which files
these are, `Places` knows. What would let a client reach more of the machine than that, such as a file named in a
method's settings, is held against the server's `Rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limbeck.data.decode import MAX_PIXELS
from limbeck.data.normalization import Normalization
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import ConfigError, LimbeckError
from limbeck.evaluate.students import STUDENTS, Student
from limbeck.methods import make_method
from limbeck.methods.base import Method
from limbeck.pack import Role
from limbeck.text.endpoint import EndpointSettings
from limbeck_server.backends import BackendName, named_backend
from limbeck_server.evaluation_options import USED_BY, ProtocolName, uses
from limbeck_server.jobs import DistillJob

Violation = tuple[str, str]
"""A field's path, such as "settings.num_steps", and what is wrong with it."""


class SpecError(ConfigError):
    """A spec that cannot be run; `violations` says what is wrong, field by field."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        """Keep `violations`, at least one."""
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{path}: {reason}" for path, reason in self.violations))


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reading(_Spec):
    """How images are read, where a file leaves it open."""

    image_column: str | None = None
    label_column: str | None = None
    normalization: str | None = None
    class_names: list[Annotated[str, Field(max_length=1000)]] | None = Field(default=None, max_length=100_000)
    split: str | None = None

    def location(self, place: Path) -> str:
        """What `open_source` takes for the images at `place`."""
        return f"{place}:{self.split}" if self.split else str(place)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `open_source`.

        Raises:
            ConfigError: A normalization that is none.
        """
        return {
            "image_column": self.image_column,
            "label_column": self.label_column,
            "normalization": Normalization.parse(self.normalization) if self.normalization else None,
            "class_names": self.class_names or None,
        }


class RoleBackend(_Spec):
    """Another backend for one graph of the pack."""

    role: Role
    backend: BackendName
    settings: dict[str, Any] = Field(default_factory=dict)


class DistillSpec(_Spec):
    """A distillation; the fields are those of `limbeck distill`."""

    method: str = "d4m"
    preset: Literal["default", "faithful"] = "default"
    settings: dict[str, Any] = Field(default_factory=dict)
    ipc: int = Field(default=1, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, lt=2**63)
    pack: str = "mini"
    dataset: str
    budget_nbytes: int | None = Field(default=None, ge=1)
    bucket: int | None = Field(default=None, ge=1, le=1024)
    backend: BackendName = "onnxruntime"
    backend_settings: dict[str, Any] = Field(default_factory=dict)
    role_backends: list[RoleBackend] = Field(default_factory=list, max_length=len(get_args(Role)))
    step_cache: str | None = None
    skip_unreadable: bool = False
    reading: Reading = Reading()

    def references(self) -> list[str]:
        """The datasets and distilled sets that it reads."""
        return [self.dataset]

    def make_method(self) -> Method:
        """The method with its settings.

        Raises:
            ConfigError: An unknown method or setting, or a value that does not fit.
        """
        settings = {name: _whole(value) for name, value in self.settings.items()}
        return make_method(self.method, ipc=self.ipc, seed=self.seed, preset=self.preset, settings=settings)


class EvaluateSpec(_Spec):
    """An evaluation; the fields are those of `limbeck evaluate`."""

    distilled_sets: list[str] = Field(min_length=1, max_length=100)
    train_dataset: str | None = None
    test_dataset: str
    protocol: ProtocolName = "probe"
    student: str = "convnet-3"
    seeds: int | None = Field(default=None, ge=1, le=100)
    scale: float | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, ge=1)
    checks: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=8, le=4096)
    norm: Literal["instance", "batch"] | None = None
    width: int | None = Field(default=None, ge=1)
    teacher: str | None = None
    baselines: list[Literal["random", "all", "plain", "hard"]] = Field(default_factory=list, max_length=4)
    pack: str = "mini"
    heir_pack: str | None = None
    backend: BackendName = "onnxruntime"
    backend_settings: dict[str, Any] = Field(default_factory=dict)
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    train_reading: Reading = Reading()
    test_reading: Reading = Reading()

    def references(self) -> list[str]:
        """The datasets and distilled sets that it reads."""
        return [*self.distilled_sets, self.test_dataset, *([self.train_dataset] if self.train_dataset else [])]


JobSpec = DistillSpec | EvaluateSpec
KINDS: Mapping[str, type[DistillSpec] | type[EvaluateSpec]] = {"distill": DistillSpec, "evaluate": EvaluateSpec}


def parse(kind: str, data: Mapping[str, Any]) -> JobSpec:
    """A spec from plain values.

    Raises:
        SpecError: A field that there is not, is missing, or does not fit.
    """
    try:
        return KINDS[kind].model_validate(dict(data))
    except ValidationError as error:
        found = error.errors()
        raise SpecError(
            [(".".join(map(str, one["loc"])), f"{one['msg']}, got {one['input']!r}") for one in found]
        ) from error


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What this server lets a job do.

    Args:
        packs: The packs that it serves, by name.
        backends: The backends that it lets a job ask for.
        place: Gives the file that a path in a method's settings means, or raises `LimbeckError` where a client may
            not read it.
        endpoints: The URLs that methods may call, by their beginning.
        budget_nbytes: The most private memory of a job; None sets no limit.
    """

    packs: Mapping[str, Path]
    backends: Sequence[str]
    place: Callable[[str], Path]
    endpoints: Sequence[str] = ()
    budget_nbytes: int | None = None

    def check(self, spec: JobSpec) -> None:
        """Refuse a spec that could not run here.

        Raises:
            SpecError: Every field that is wrong.
        """
        violations: list[Violation] = []
        if isinstance(spec, DistillSpec):
            self._check_distill(spec, violations)
        else:
            self._check_evaluate(spec, violations)
        if violations:
            raise SpecError(violations)

    def _check_distill(self, spec: DistillSpec, violations: list[Violation]) -> None:
        self._check_pack("pack", spec.pack, violations)
        self._check_backend("backend", spec.backend, spec.backend_settings, spec.pack, violations)
        for number, one in enumerate(spec.role_backends):
            self._check_backend(f"role_backends.{number}.backend", one.backend, one.settings, spec.pack, violations)
        if spec.budget_nbytes and self.budget_nbytes and spec.budget_nbytes > self.budget_nbytes:
            violations.append(
                ("budget_nbytes", f"the server gives a job at most {self.budget_nbytes}, got {spec.budget_nbytes}")
            )
        with _as_violation("reading.normalization", violations):
            spec.reading.arguments()
        if spec.step_cache is not None:
            with _as_violation("step_cache", violations):
                StepCache.parse(spec.step_cache)
        with _as_violation("method", violations, spec.settings):
            self._check_settings(spec.make_method(), violations)

    def _check_settings(self, method: Method, violations: list[Violation]) -> None:
        """Refuse settings that name a file or an address which clients may not reach."""
        for one in fields(method):  # type: ignore[arg-type]
            value = getattr(method, one.name)
            if isinstance(value, EndpointSettings) and not _below(value.url, self.endpoints):
                allowed = ", ".join(self.endpoints) or "none"
                violations.append((f"settings.{one.name}", f"{value.url} is no allowed endpoint ({allowed})"))
            elif one.metadata.get("place") and _names_file(value):
                with _as_violation(f"settings.{one.name}", violations):
                    self.place(value)

    def _check_evaluate(self, spec: EvaluateSpec, violations: list[Violation]) -> None:
        self._check_pack("pack", spec.pack, violations)
        self._check_backend("backend", spec.backend, spec.backend_settings, spec.pack, violations)
        if spec.heir_pack is not None:
            self._check_pack("heir_pack", spec.heir_pack, violations)
        with _as_violation("student", violations):
            Student.parse(spec.student)
        if spec.teacher not in (None, "backbone", *STUDENTS):
            violations.append(("teacher", f"is none of backbone, {', '.join(STUDENTS)}, got {spec.teacher!r}"))
        for name in sorted(spec.model_fields_set):
            option = {"baselines": "baseline", "heir_pack": "heir"}.get(name, name)
            if not uses(spec.protocol, option):
                what = f"means nothing to protocol {spec.protocol}, but to {', '.join(USED_BY[option])}"
                violations.append((name, what))
        if spec.protocol in ("probe", "inheritance") and spec.train_dataset is None:
            violations.append(("train_dataset", f"protocol {spec.protocol} needs real training images"))
        if spec.protocol == "inheritance" and spec.heir_pack is None:
            violations.append(("heir_pack", "protocol inheritance needs the pack whose backbone inherits"))

    def _check_pack(self, path: str, name: str, violations: list[Violation]) -> None:
        if name not in self.packs:
            violations.append((path, f"there is no pack '{name}'; there is {', '.join(sorted(self.packs))}"))

    def _check_backend(
        self, path: str, name: BackendName, settings: Mapping[str, Any], pack: str, violations: list[Violation]
    ) -> None:
        if name not in self.backends:
            violations.append((path, f"the server runs {', '.join(self.backends)}, got '{name}'"))
        elif pack in self.packs:
            with _as_violation(path, violations):
                named_backend(name, {key: _whole(value) for key, value in settings.items()}, pack=str(self.packs[pack]))


@dataclass(frozen=True, kw_only=True)
class Places:
    """What the names in one spec mean on this machine.

    Args:
        packs: Packs by name.
        resources: Where datasets and distilled sets lie, by resource name.
        backend: Settings of backends by name, under those that the spec gives: threads, device.
        max_pixels: The largest image that is decoded.
    """

    packs: Mapping[str, str]
    resources: Mapping[str, str]
    backend: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    max_pixels: int = MAX_PIXELS

    def path(self, resource: str) -> Path:
        """Where a dataset or a distilled set lies."""
        return Path(self.resources[resource])

    def job(self, spec: DistillSpec, *, out: Path, budget_nbytes: int | None) -> DistillJob:
        """The job that `spec` asks for.

        Args:
            spec: What was asked; checked before.
            out: Where the set will be.
            budget_nbytes: The budget of a spec that has none.

        Raises:
            ConfigError: As `Rules.check`, where this machine differs from the one that checked.
        """
        pack = self.packs[spec.pack]
        return DistillJob(
            method=spec.make_method(),
            pack=pack,
            data=spec.reading.location(self.path(spec.dataset)),
            out=out,
            backend=self._backend(spec.backend, spec.backend_settings, pack),
            role_backends={one.role: self._backend(one.backend, one.settings, pack) for one in spec.role_backends},
            bucket=spec.bucket,
            budget_nbytes=spec.budget_nbytes or budget_nbytes,
            step_cache=StepCache.parse(spec.step_cache) if spec.step_cache else None,
            skip_unreadable=spec.skip_unreadable,
            reading={**spec.reading.arguments(), "max_pixels": self.max_pixels},
        )

    def _backend(self, name: BackendName, settings: Mapping[str, Any], pack: str) -> Any:
        given = {key: _whole(value) for key, value in settings.items()}
        return named_backend(name, {**self.backend.get(name, {}), **given}, pack=pack)


@contextmanager
def _as_violation(
    path: str, violations: list[Violation], settings: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[None]:
    """A refusal inside becomes a violation, of the setting that it names if it names one."""
    try:
        yield
    except LimbeckError as error:
        named = [name for name in settings if f"'{name}'" in str(error)]
        violations.append((f"settings.{named[0]}" if named else path, str(error)))


def _whole(value: Any) -> Any:
    """A value that passed through protobuf's Struct, which has no integers: whole numbers become integers again."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(one) for one in value]
    return value


def _names_file(value: object) -> bool:
    """Whether a setting that may name a file does: some have words of their own, such as "class-names"."""
    return isinstance(value, str) and value != "" and ("/" in value or "\\" in value or Path(value).exists())


def _below(url: str, allowed: Sequence[str]) -> bool:
    return any(url == one or url.startswith(one.rstrip("/") + "/") for one in allowed)
