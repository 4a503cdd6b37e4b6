"""The step cache of a DiT: on some steps only the outer blocks run, and what the middle ones would add is foretold.

    full step       first blocks, middle blocks, last blocks; what the middle ones added is remembered
    shallow step    first blocks, plus the foretold middle, last blocks

From one step to the next what blocks add changes little. FORA (Selvaraju et al. 2024) reuses it for each layer,
Delta-DiT (Chen et al. 2024) the sum over a run of blocks, as here; TaylorSeer (Liu et al. 2025) carries features on as
a Taylor series, of which order 1 is the line through the last two.

What is remembered belongs to one walk of one sample under one condition, and lives as long as the tracked condition
that `begin` gives: no other walk, guidance scale or neighbor in a batch can meet it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import numpy as np

from limbeck.arrays import Array, Latents, Times
from limbeck.diffusion.base import Condition
from limbeck.diffusion.batching import in_buckets
from limbeck.diffusion.denoiser import ClassCondition, DitDenoiser
from limbeck.engine import Runnable
from limbeck.errors import ConfigError
from limbeck.pack import DenoiserInfo, PackManifest


@dataclass(frozen=True, kw_only=True)
class StepCache:
    """When the middle blocks run, and how they are foretold when they do not.

    Args:
        every: One step in so many is full. 1 is no cache: the same images, bit for bit.
        order: 0 reuses the last middle, 1 carries it on along the line through the last two, in the network's time.

    Raises:
        ConfigError: `every` is below 1, or the order is another.
    """

    every: int = 2
    order: Literal[0, 1] = 1

    MIN_STEPS: ClassVar[int] = 25
    """Below, neighboring steps are too unlike: with 20 steps, published caches double or triple DiT-XL/2's FID (3.6 to
    7.9 with TaylorSeer, to 10.7 with ToCa), where fewer steps of a good sampler cost nothing."""

    def __post_init__(self) -> None:
        """Reject settings that mean nothing."""
        if self.every < 1:
            raise ConfigError(f"a step cache runs the whole network every 1 or more steps, got every={self.every}")
        if self.order not in (0, 1):
            raise ConfigError(f"a step cache foretells with order 0 or 1, got order={self.order}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From text, as "every=2" or "every=2,order=1"; what is not said stays as it is by default.

        Raises:
            ConfigError: Not of that form, or a setting that means nothing.
        """
        values: dict[str, int] = {}
        for part in text.split(","):
            name, _, value = (word.strip() for word in part.partition("="))
            if name not in ("every", "order") or name in values or not value.isdecimal():
                raise ConfigError(
                    f"'{text}' is no step cache; give every=N and, if wanted, order=0 or order=1: every=2,order=1"
                )
            values[name] = int(value)
        return cls(**values)  # type: ignore[arg-type]  # an order that is neither 0 nor 1 is refused there

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"every={self.every},order={self.order}"

    @property
    def recipe(self) -> Mapping[str, int]:
        """As a trial of the role `shallow` names this setting."""
        return {"every": self.every, "order": self.order}

    def full_steps(self, num_steps: int) -> int:
        """How many of a walk's steps run the whole network: those that start the line, then one in `every`."""
        first = min(self.order, num_steps)
        return first + -(-(num_steps - first) // self.every)

    def check_steps(self, num_steps: int) -> None:
        """Refuse walks with fewer than `MIN_STEPS` steps; a walk of no step is left alone.

        Raises:
            ConfigError: There are fewer.
        """
        if 0 < num_steps < self.MIN_STEPS:
            raise ConfigError(
                f"the step cache needs a walk of at least {self.MIN_STEPS} steps, this one has {num_steps}: with fewer "
                "the steps are too unlike to reuse one in the next; turn the cache off, or raise num_steps or strength"
            )


def check_gate(manifest: PackManifest, cache: StepCache, backend: str) -> None:
    """Refuse a step cache that the quality gate has not accepted for this pack, at its trunk's precision.

    Error of the cache and of the precision do not add up (PTQ4DiT with a cache: FID 13.7, calibrated jointly 5.4), so
    the trial must be of both together: role `shallow`, the trunk's precision, this backend, and `cache.recipe`.

    Raises:
        ConfigError: No such trial was kept, or the pack has no DiT, or no `shallow` graph.
    """
    if manifest.denoiser is None or manifest.denoiser.kind != "dit":
        raise ConfigError(f"pack '{manifest.name}' has no DiT, and a step cache is made for nothing else; turn it off")
    precision = manifest.graphs["trunk"].precision
    tried = {
        ",".join(f"{name}={value}" for name, value in sorted(trial.recipe.items())): trial
        for trial in manifest.trials
        if (trial.role, trial.backend, trial.precision) == ("shallow", backend, precision)
    }
    kept = [setting for setting, trial in tried.items() if trial.kept and "shallow" in manifest.graphs]
    if str(cache) in kept:
        return
    if str(cache) in tried and not tried[str(cache)].kept:
        found = f"it was refused: {tried[str(cache)].reason}\nturn the step cache off"
    else:
        found = (
            "it was not tried\nturn the step cache off, "
            + (f"take --step-cache {' or '.join(kept)}, which passed, " if kept else "")
            + f"or let the gate judge this one: limbeck build PACK --out NEW --step-cache {cache}"
        )
    raise ConfigError(
        f"the quality gate has not accepted {cache} for pack '{manifest.name}' at {precision} on {backend}: {found}"
    )


class CachedDitDenoiser(DitDenoiser):
    """A DiT with a step cache. Asked outside a walk (`begin`), it runs whole.

    A tracked row remembers `order + 1` middles of (tokens, hidden) float32 until its walk ends: for DiT-XL/2 2.4 MB
    at order 1, and as much again for its null condition.

    Args:
        info: Shapes, from the pack.
        conditioner: Engine from (timestep, class_id) to modulation.
        trunk: Engine from latents and modulation to a prediction and `middle`, what the middle blocks added.
        shallow: Engine from latents, modulation and `middle` to a prediction.
        cache: When to run which.
        bucket: Samples in one engine call; smaller batches are padded to it.
        table_nbytes: The most memory that remembered modulations may take.
    """

    def __init__(
        self,
        info: DenoiserInfo,
        conditioner: Runnable,
        trunk: Runnable,
        shallow: Runnable,
        *,
        cache: StepCache,
        bucket: int,
        table_nbytes: int = 64 * 2**20,
    ) -> None:
        """Keep the engines; they are closed by whoever compiled them."""
        super().__init__(info, conditioner, trunk, bucket=bucket, table_nbytes=table_nbytes)
        self._shallow = shallow
        self._cache = cache

    def begin(self, condition: Condition, walks: Times) -> Condition:
        """The condition for one walk: each of its rows remembers what belongs to it alone.

        Args:
            condition: One row a sample.
            walks: Shape (num_steps + 1, batch); where a column does not change, the sample makes no step.

        Raises:
            ConfigError: A sample makes fewer steps than `StepCache.MIN_STEPS`, or not a condition of a DiT.
        """
        if not isinstance(condition, ClassCondition):
            raise ConfigError(f"a class-conditional denoiser takes a ClassCondition, got {type(condition).__name__}")
        tracks = []
        for walk in walks.T:
            times = list(dict.fromkeys(walk.tolist()))
            self._cache.check_steps(len(times) - 1)
            tracks.append(_Track({time: step for step, time in enumerate(times)}))
        return _Tracked(condition, tuple(tracks))

    def _predict(self, latents: Latents, times: Times, condition: Condition) -> Array:
        if not isinstance(condition, _Tracked):
            return super()._predict(latents, times, condition)
        feeds = {"latents": latents, **self._modulation(times, condition.classes.class_ids)}
        asked = list(zip(condition.tracks, times.tolist(), strict=True))
        full = [row for row, (track, time) in enumerate(asked) if track.needs_full(time, self._cache)]
        shallow = sorted(set(range(len(asked))) - set(full))
        made: list[Array] = []
        if full:
            outputs = in_buckets(self._trunk.run, _rows(feeds, full), bucket=self._bucket)
            for row, middle in zip(full, outputs["middle"], strict=True):
                track, time = asked[row]
                track.remember(time, middle, self._cache)
            made.append(outputs["prediction"])
        if shallow:
            middles = np.stack([track.foretell(time) for track, time in (asked[row] for row in shallow)])
            outer = _rows(feeds, shallow) | {"middle": middles}
            made.append(in_buckets(self._shallow.run, outer, bucket=self._bucket)["prediction"])
        predictions: Array = np.concatenate(made)[np.argsort([*full, *shallow])]
        return predictions


@dataclass
class _Track:
    """What is known of one sample's walk: the step of each time, and its last middles with their times."""

    steps: Mapping[int, int]
    known: list[tuple[int, Array]] = field(default_factory=list)

    def needs_full(self, time: int, cache: StepCache) -> bool:
        if len(self.known) <= cache.order or time not in self.steps:
            return True
        last, _ = self.known[-1]
        return abs(self.steps[time] - self.steps[last]) >= cache.every

    def remember(self, time: int, middle: Array, cache: StepCache) -> None:
        if cache.every == 1 or time not in self.steps:
            return
        # a copy: a view would keep the whole bucket alive
        self.known = [*self.known, (time, middle.copy())][-(cache.order + 1) :]

    def foretell(self, time: int) -> Array:
        last_time, last = self.known[-1]
        if len(self.known) == 1:
            return last
        earlier_time, earlier = self.known[-2]
        return last + (last - earlier) * np.float32((time - last_time) / (last_time - earlier_time))


@dataclass(frozen=True)
class _Tracked:
    """A condition whose rows know the walk that they belong to."""

    classes: ClassCondition
    tracks: tuple[_Track, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, rows: Sequence[int]) -> Self:
        return type(self)(self.classes.take(rows), tuple(self.tracks[row] for row in rows))

    def join(self, other: Self) -> Self:
        return type(self)(self.classes.join(other.classes), self.tracks + other.tracks)


def _rows(feeds: Mapping[str, Array], rows: Sequence[int]) -> dict[str, Array]:
    return {name: array[np.asarray(rows, np.int64)] for name, array in feeds.items()}
