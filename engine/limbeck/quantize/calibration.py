"""Calibration feeds: what the networks really see while they denoise.

A sampler walks from noise with guidance on the float32 engines, and the trunk's feeds are kept: at every time, for
every class, with the condition and without. Ranges of activations differ several times between these, so none may be
missing, and standard normal feeds, which a network never sees, would give wrong ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import numpy as np
from pydantic import JsonValue

from limbeck.arrays import Array, Latents, Times
from limbeck.backends.base import Backend, GraphSpec
from limbeck.diffusion.base import Condition, Conditioning, Denoiser
from limbeck.diffusion.codec import PackCodec
from limbeck.diffusion.denoisers import denoiser_roles, make_denoiser
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import SamplerName, finish, sampler
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.engine import Runnable, compile
from limbeck.errors import ConfigError, PackError
from limbeck.pack import DenoiserInfo, Pack, Role
from limbeck.randomness import generator

Feeds: TypeAlias = Mapping[str, Array]
Branch = Literal["conditional", "null"]


@dataclass(frozen=True, kw_only=True)
class TrajectorySettings:
    """Which walks are recorded, and how much of them.

    Args:
        seed: With the class and the sample it decides a walk's noise.
        num_samples: Walks, spread evenly over the classes.
        num_steps: Of every walk.
        sampler: By name.
        guidance: The scale of classifier-free guidance; 1 has no null branch.
        interval: Where guidance acts; see `Guided`.
        classes: By name; None takes `num_samples` of the network's own, evenly.
        max_rows: The most rows of the trunk that are kept; each step and branch gets the same number, give or take
            one. Where guidance does not act there is no null branch, and less is kept.

    Raises:
        ConfigError: Counts below 1, or fewer rows than two for each step.
    """

    seed: int = 0
    num_samples: int = 8
    num_steps: int = 10
    sampler: SamplerName = "ddim"
    guidance: float = 4.0
    interval: tuple[float, float] = (0.0, 1.0)
    classes: tuple[str, ...] | None = None
    max_rows: int = 64

    def __post_init__(self) -> None:
        """Reject settings that would leave a step without a row."""
        if min(self.num_samples, self.num_steps) < 1 or self.classes == ():
            raise ConfigError("calibration needs at least one sample, one step and one class")
        if self.max_rows < 2 * self.num_steps:
            raise ConfigError(
                f"{self.max_rows} calibration rows do not reach {self.num_steps} steps with and without condition; "
                f"allow max_rows={2 * self.num_steps}, or take fewer steps"
            )


@dataclass(frozen=True)
class Stratum:
    """Where a row of the trunk comes from."""

    time: int
    class_name: str
    sample: int
    branch: Branch


@dataclass(frozen=True)
class Calibration:
    """Recorded feeds, of one row each.

    Args:
        settings: What was asked.
        feeds: For each role that ran: its feeds, in the order of the strata for the trunk.
        strata: One for each of the trunk's feeds.
    """

    settings: TrajectorySettings
    feeds: Mapping[Role, tuple[Feeds, ...]]
    strata: tuple[Stratum, ...]

    def batches(self, role: Role, rows: int) -> Iterator[Feeds]:
        """The feeds of `role`, up to `rows` in one."""
        single = self.feeds[role]
        for start in range(0, len(single), rows):
            part = single[start : start + rows]
            yield {name: np.concatenate([feeds[name] for feeds in part]) for name in part[0]}

    @property
    def digest(self) -> str:
        """SHA-256 over every recorded array, 16 hexadecimal digits."""
        content = hashlib.sha256()
        for role, single in sorted(self.feeds.items()):
            for feeds in single:
                for name, array in sorted(feeds.items()):
                    content.update(f"{role} {name} {array.dtype} {array.shape}".encode())
                    content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()[:16]

    def recipe(self) -> dict[str, JsonValue]:
        """The settings, how many rows there are, and the digest of them all."""
        settings = {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.settings).items()
        }
        return {**settings, "rows": len(self.strata), "digest": self.digest}


def record_trajectories(pack: Pack, backend: Backend, settings: TrajectorySettings) -> Calibration:
    """Walk from noise to images with the float32 networks of `pack`, and keep what the engines were fed.

    The same arguments give the same feeds on the same machine. Engines run one row at a time: time, but no memory.
    Where the pack has a codec, the last latents are decoded and the images encoded, for these graphs' feeds.

    Raises:
        ConfigError: A class that the network does not know, or none given where it has no list of them.
        PackError: The pack has no denoiser or is damaged.
        EngineError: The backend refuses a graph.
    """
    tape = _Tape()
    latents, strata = _record_denoiser(pack, backend, settings, tape)
    _record_codec(pack, backend, latents, tape)
    return Calibration(settings, {role: tuple(kept) for role, kept in tape.kept.items()}, strata)


class _Tape:
    """What was recorded. `stratum` is where the next rows come from; None keeps nothing of the trunk."""

    def __init__(self) -> None:
        self.kept: dict[Role, list[Feeds]] = {}
        self.strata: list[Stratum] = []
        self.on = True


class _Recorded:
    """An engine whose feeds go on the tape while it is on."""

    def __init__(self, role: Role, engine: Runnable, tape: _Tape) -> None:
        self._role = role
        self._engine = engine
        self._tape = tape

    @property
    def spec(self) -> GraphSpec:
        return self._engine.spec

    @property
    def key(self) -> str:
        return self._engine.key

    def run(self, feeds: Feeds) -> dict[str, Array]:
        if self._tape.on or self._role != "trunk":
            self._tape.kept.setdefault(self._role, []).append({name: array.copy() for name, array in feeds.items()})
        return self._engine.run(feeds)


@dataclass
class _RowByRow:
    """A denoiser that is asked for one row at a time, with the tape on for the rows that are chosen.

    All samples walk together: of a batch, the first `num_samples` rows have the condition, the others do not.
    """

    denoiser: Denoiser
    names: Sequence[str]
    chosen: set[Stratum]
    tape: _Tape

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        noise = [self._row(row, latents, times, condition) for row in range(len(latents))]
        return np.concatenate(noise)

    def _row(self, row: int, latents: Latents, times: Times, condition: Condition) -> Latents:
        sample = row % len(self.names)
        branch: Branch = "conditional" if row < len(self.names) else "null"
        stratum = Stratum(int(times[row]), self.names[sample], sample, branch)
        self.tape.on = stratum in self.chosen
        if self.tape.on:
            self.chosen.remove(stratum)
            self.tape.strata.append(stratum)
        return self.denoiser(latents[row : row + 1], times[row : row + 1], condition.take([row]))


def _record_denoiser(
    pack: Pack, backend: Backend, settings: TrajectorySettings, tape: _Tape
) -> tuple[Latents, tuple[Stratum, ...]]:
    info = pack.manifest.denoiser
    if info is None:
        raise PackError(f"pack '{pack.manifest.name}' has no denoiser to walk with; calibrate its graphs with feeds")
    schedule = NoiseSchedule.from_config(pack.schedule_config())
    named = sampler(settings.sampler)
    times = named.times(schedule, settings.num_steps)
    with _recorded_engines(pack, backend, denoiser_roles(info), tape) as engines:
        denoiser, conditioning = make_denoiser(pack, engines, schedule=schedule, bucket=1)
        names = _class_names(pack, settings)
        walked = _RowByRow(denoiser, names, _chosen(settings, names, times[:-1]), tape)
        guided = _guided(walked, conditioning, settings, schedule)
        latents = _noise(settings, names, info.latent_shape, "noise")
        last = finish(
            latents,
            named(
                guided,
                latents,
                conditioning.of_classes(names),
                schedule=schedule,
                times=times,
                noise=lambda step: _noise(settings, names, info.latent_shape, f"step {step}"),
            ),
        )
    return last, tuple(tape.strata)


def _record_codec(pack: Pack, backend: Backend, latents: Latents, tape: _Tape) -> None:
    if pack.manifest.codec is None:
        return
    with _recorded_engines(pack, backend, ("decoder", "encoder"), tape) as engines:
        codec = PackCodec(pack.manifest.codec, engines["encoder"], engines["decoder"], bucket=1)
        codec.encode(codec.decode(latents))


@contextmanager
def _recorded_engines(
    pack: Pack, backend: Backend, roles: Sequence[Role], tape: _Tape
) -> Iterator[Mapping[Role, Runnable]]:
    with ExitStack() as stack:
        yield {role: _Recorded(role, stack.enter_context(compile(pack.graph(role), backend)), tape) for role in roles}


def _guided(
    denoiser: Denoiser, conditioning: Conditioning, settings: TrajectorySettings, schedule: NoiseSchedule
) -> Guided:
    return Guided(
        denoiser, conditioning, scale=settings.guidance, interval=settings.interval, num_times=schedule.num_times
    )


def _chosen(settings: TrajectorySettings, names: Sequence[str], times: Times) -> set[Stratum]:
    """The rows to keep: round after round one for each (time, branch), with the samples in turn."""
    branches: tuple[Branch, ...] = ("conditional", "null") if settings.guidance != 1 else ("conditional",)
    cells = [(int(time), branch) for time in times for branch in branches]
    order = generator(settings.seed, "", 0, "calibration").permutation(len(names)).tolist()
    # where the turns would meet the same cells again, all are moved on by one
    again = math.lcm(len(cells), len(names))
    rows = set()
    for number in range(min(settings.max_rows, len(cells) * len(names))):
        time, branch = cells[number % len(cells)]
        sample = order[(number + number // again) % len(names)]
        rows.add(Stratum(time, names[sample], sample, branch))
    return rows


def _class_names(pack: Pack, settings: TrajectorySettings) -> list[str]:
    """One class for each sample."""
    classes: Sequence[str] | None = settings.classes
    if classes is None:
        if not isinstance(pack.manifest.denoiser, DenoiserInfo):
            raise ConfigError("a text-conditional network has no list of classes; give classes= for calibration")
        known = pack.manifest.denoiser.classes
        spread = np.linspace(0, len(known) - 1, min(settings.num_samples, len(known)))
        classes = [known[round(index)] for index in spread]
    return [classes[sample % len(classes)] for sample in range(settings.num_samples)]


def _noise(settings: TrajectorySettings, names: Sequence[str], shape: tuple[int, int, int], use: str) -> Latents:
    """Standard normal, one row a sample."""
    return np.stack(
        [
            generator(settings.seed, name, sample, use).standard_normal(shape, dtype=np.float32)
            for sample, name in enumerate(names)
        ]
    )
