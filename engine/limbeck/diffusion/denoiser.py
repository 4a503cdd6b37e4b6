"""`DitDenoiser`: a class-conditional DiT cut in two engines, as a predictor of noise.

`(timestep, class)` alone decides the adaptive-norm modulation, a third of a DiT's weights. The conditioner computes it
once for each pair that occurs; the trunk then runs with rows of that table (Peebles & Xie 2023, section 3.2:
adaLN-Zero).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from limbeck.arrays import Array, ClassIds, Latents, Maps, Times
from limbeck.diffusion.base import Condition
from limbeck.diffusion.batching import in_buckets
from limbeck.diffusion.table import RowTable
from limbeck.engine import Runnable
from limbeck.errors import ConfigError
from limbeck.imagenet import are_imagenet, label_of
from limbeck.pack import DenoiserInfo


@dataclass(frozen=True)
class ClassCondition:
    """One class id of the network for each sample."""

    class_ids: ClassIds

    def __len__(self) -> int:
        return len(self.class_ids)

    def take(self, rows: Sequence[int]) -> Self:
        """The condition of these samples, in this order."""
        return type(self)(self.class_ids[np.asarray(rows, np.int64)])

    def join(self, other: Self) -> Self:
        """This condition's rows, then the other's."""
        return type(self)(np.concatenate([self.class_ids, other.class_ids]))


class ClassConditioning:
    """Class names to the network's class ids.

    A name matches if it equals the network's, or one of its comma-separated synonyms ("tench, Tinca tinca"),
    whatever the case. Of a network that knows ImageNet's classes a WordNet id ("n01440764") is one too.
    """

    def __init__(self, info: DenoiserInfo) -> None:
        """Index the pack's class names."""
        self._null = info.null_class
        self._ids: dict[str, int] = {}
        for class_id, name in enumerate(info.classes):
            for key in (name, *name.split(",")):
                self._ids.setdefault(key.strip().casefold(), class_id)
        self._names = info.classes
        self._imagenet = are_imagenet(info.classes)

    def of_classes(self, names: Sequence[str]) -> ClassCondition:
        """One row a name. Raises `ConfigError` for names the network does not know."""
        ids = {name: self._id(name) for name in names}
        unknown = sorted(name for name, class_id in ids.items() if class_id is None)
        if unknown:
            shown = ", ".join(self._names[:12]) + (", …" if len(self._names) > 12 else "")
            raise ConfigError(
                f"the pack's denoiser does not know the class(es) {', '.join(unknown)}; "
                f"it knows {len(self._names)}: {shown}\n"
                "rename the classes, or use a pack trained on them; d4m can do without: --set condition=none"
            )
        return ClassCondition(np.array([ids[name] for name in names], np.int64))

    def null(self, batch: int) -> ClassCondition:
        """`batch` rows of the null class."""
        return ClassCondition(np.full(batch, self._null, np.int64))

    def _id(self, name: str) -> int | None:
        own = self._ids.get(name.strip().casefold())
        return label_of(name) if own is None and self._imagenet else own


class DitDenoiser:
    """Predicts noise with a conditioner and a trunk.

    Args:
        info: Shapes, from the pack.
        conditioner: Engine from (timestep, class_id) to modulation.
        trunk: Engine from latents and modulation to a prediction.
        bucket: Samples in one engine call; smaller batches are padded to it.
        table_nbytes: The most memory that remembered modulations may take; the least recently used go first.
    """

    def __init__(
        self,
        info: DenoiserInfo,
        conditioner: Runnable,
        trunk: Runnable,
        *,
        bucket: int,
        table_nbytes: int = 64 * 2**20,
    ) -> None:
        """Keep the engines; they are closed by whoever compiled them."""
        self._channels = info.latent_shape[0]
        self.learned_sigma = info.learned_sigma
        self._conditioner = conditioner
        self._trunk = trunk
        self._bucket = bucket
        self._table: RowTable[tuple[int, int]] = RowTable(table_nbytes)

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        """The noise in `latents`, the same shape."""
        return self._predict(latents, times, condition)[:, : self._channels]

    def with_variance(self, latents: Latents, times: Times, condition: Condition) -> tuple[Latents, Latents]:
        """The noise, and the raw variance interpolation.

        Raises:
            ConfigError: The network was trained without learned sigma.
        """
        if not self.learned_sigma:
            raise ConfigError("this denoiser has no learned variance; use variance='posterior' or 'upper'")
        prediction = self._predict(latents, times, condition)
        return prediction[:, : self._channels], prediction[:, self._channels :]

    def features(self, engine: Runnable, latents: Latents, times: Times, condition: Condition) -> Maps:
        """What `engine`, a part of the trunk, makes of what the trunk is given: shape (batch, channels, h, w)."""
        given = {"latents": latents, **self._modulation(times, _class_ids(condition))}
        feeds = {tensor.name: given[tensor.name] for tensor in engine.spec.inputs}
        return in_buckets(engine.run, feeds, bucket=self._bucket)["features"]

    def _predict(self, latents: Latents, times: Times, condition: Condition) -> Array:
        modulation = self._modulation(times, _class_ids(condition))
        feeds = {"latents": latents, **modulation}
        return in_buckets(self._trunk.run, feeds, bucket=self._bucket)["prediction"]

    def prepare(self, times: Times, condition: Condition) -> None:
        """Remember the modulation of every one of `times` with every class of `condition`, a bucket at a time.

        Then the conditioner is not asked again, as long as the table has room for all of them.
        """
        pairs = [
            (time, class_id) for time in times.tolist() for class_id in sorted(set(_class_ids(condition).tolist()))
        ]
        for start in range(0, len(pairs), self._bucket):
            self._rows(pairs[start : start + self._bucket])

    def _modulation(self, times: Times, class_ids: ClassIds) -> dict[str, Array]:
        pairs = list(zip(times.tolist(), class_ids.tolist(), strict=True))
        rows = self._rows(pairs)
        names = [tensor.name for tensor in self._conditioner.spec.outputs]
        return {name: np.stack([rows[pair][name] for pair in pairs]) for name in names}

    def _rows(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], dict[str, Array]]:
        """The modulation of each (time, class), made once."""
        rows = {pair: row for pair in set(pairs) if (row := self._table.get(pair)) is not None}
        new = sorted(set(pairs) - rows.keys())
        if new:
            feeds = {
                "timestep": np.array([time for time, _ in new], np.int64),
                "class_id": np.array([class_id for _, class_id in new], np.int64),
            }
            made = in_buckets(self._conditioner.run, feeds, bucket=self._bucket)
            for i, pair in enumerate(new):
                # a copy: a view would keep the whole bucket alive
                rows[pair] = {name: array[i].copy() for name, array in made.items()}
                self._table.put(pair, rows[pair])
        return rows


def _class_ids(condition: Condition) -> ClassIds:
    if not isinstance(condition, ClassCondition):
        raise ConfigError(f"a class-conditional denoiser takes a ClassCondition, got {type(condition).__name__}")
    return condition.class_ids
