"""DDPS: the patches of real images that a diffusion model finds typical of their class. A RECONSTRUCTION.

Zhong et al., "Towards Consistent and Efficient Dataset Distillation via Diffusion-Driven Selection" (arXiv 2412.09959,
first "Efficient Dataset Distillation via Diffusion-Driven Patch Selection for Improved Generalization"), select real
patches with a diffusion model and make nothing. Their code is not public and their method section was not at hand:
what follows is rebuilt from the abstract, with the score of Siglidis et al., "Diffusion Models as Data Mining Tools",
ECCV 2024, the features of Tang et al. (DIFT, NeurIPS 2023), and the composition of RDED (CVPR 2024). Its results are
this reconstruction's, not the paper's. For every class:

1. score    - noise each image many times and predict the noise with the label and without it, the same noise for both;
              where the label helps most, the image is typical: T = mean(loss without - loss with);
2. window   - of each image, the windows with the highest mean T that do not overlap; of the class, the best of these;
3. cluster  - k-means on the diffusion features of the windows; clusters ranked by the median T of their members;
4. select   - go round the clusters in that order, each time taking the member nearest to the center;
5. compose  - images of `parts` by `parts` windows.

The list that step 4 gives does not depend on `ipc`, so a smaller set is the beginning of a larger one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from limbeck.arrays import Array
from limbeck.data.base import ImageSource
from limbeck.errors import ConfigError, DataError
from limbeck.memory.work import Walk, Work
from limbeck.methods.base import NO_STATES, Event, State, Unit
from limbeck.methods.shared.by_class import class_counts
from limbeck.methods.shared.clustering import warm_up
from limbeck.methods.shared.diffusion_features import diffusion_features
from limbeck.methods.shared.mosaic import patch_size
from limbeck.methods.shared.patch_selection import PatchSelection
from limbeck.methods.shared.rounds import in_rounds
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.methods.shared.typicality import typical_windows
from limbeck.methods.shared.windows import NBYTES as WINDOW_NBYTES
from limbeck.models import Models, Part
from limbeck.randomness import generator, small_seed

RECONSTRUCTION = "a reconstruction of DDPS from its abstract; the paper's code is not public"

WHOLE_IMAGE_SIDE = 0.75
"""The usual window of an image that is one patch: better than a half on the `mini` pack (docs/experiments.md)."""


@dataclass(frozen=True, kw_only=True)
class DDPS(PatchSelection):
    """Typical patches, clustered and composed. A reconstruction: its results are not the paper's.

    Args:
        ipc, parts, fit: As `PatchSelection`.
        seed: With class name and image, fixes the noise; with the class name, the clusters.
        num_draws: Times and noises each image is scored with. Each costs two samples of the denoiser.
        time_range: The fractions of the schedule between which times lie.
        times: "grid" takes `num_draws` times at equal distances, the same for every image, so that scores compare and
            few conditions are made; "uniform" draws them.
        window_side: Height and width of a window as a fraction of the image's; None is 0.5, and 0.75 where an image is
            one patch.
        windows_per_image: At most so many windows of an image.
        windows_per_class: How many windows of a class are clustered.
        clusters: How many clusters; as many as windows where these are fewer.
        feature_time: The time at which diffusion features are taken.
        feature_draws: Noises over which they are averaged.
        scratch_bytes: The most that the features of a class's windows may take, in bytes; clustering needs four times
            that.
    """

    name: ClassVar[str] = "ddps"
    needs: ClassVar[AbstractSet[Part]] = frozenset({"codec", "denoiser", "features"})
    num_draws: int = 10
    time_range: tuple[float, float] = (0.1, 0.7)
    times: Literal["grid", "uniform"] = "grid"
    window_side: float | None = None
    windows_per_image: int = 5
    windows_per_class: int = 1000
    clusters: int = 32
    feature_time: int = 161
    feature_draws: int = 8
    scratch_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        refuse_below_one(self, "num_draws", "windows_per_image", "windows_per_class", "clusters", "feature_draws")
        if self.window_side is not None and not 0 < self.window_side <= 1:
            raise ConfigError(f"window_side must be a fraction above 0 and at most 1, got {self.window_side}")
        low, high = self.time_range
        if not 0 <= low < high <= 1:
            raise ConfigError(f"time_range must be two rising fractions in 0..1, got {self.time_range}")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The reconstruction at the published numbers of what it is made of.

        100 draws at uniform times in 0.1..0.7, five windows an image, 1000 a class, 32 clusters (Siglidis et al.);
        features at time 161 over 8 noises (DIFT). DIFT's are those of up block 1 of Stable Diffusion, up_ft_index=1: at
        which block a pack is cut is said when it is exported, `--features 1`, and stands in each image's row. Not
        theirs: windows are half the image instead of an eighth, which would be far too small for a patch of a 2 by 2
        mosaic; the latent is the codec's mean instead of a draw, so that scores repeat; and the text encoder is the
        pack's own, where their release puts another in its place.
        """
        return cls(ipc=ipc, seed=seed, num_draws=100, times="uniform", window_side=0.5)

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small or unknown classes, times that are none, patches that fill no image, and large features."""
        super().check(source, models)
        models.conditioning.of_classes(source.class_names)
        if not 0 <= self.feature_time < models.schedule.num_times:
            raise ConfigError(
                f"feature_time={self.feature_time} is no time of the schedule: 0..{models.schedule.num_times - 1}"
            )
        if round(self._window_side(models) * models.image_size) < 1:
            raise ConfigError(f"window_side={self.window_side} of {models.image_size} pixels is no window; raise it")
        wanted = self.num_patches(models)
        most = min(self.windows_per_class, self.windows_per_image * min(class_counts(source)))
        if most < wanted:
            raise ConfigError(
                f"ipc={self.ipc} images need {wanted} windows a class; windows_per_class={self.windows_per_class} "
                f"and windows_per_image={self.windows_per_image} give at most {most}; raise them, or lower ipc or parts"
            )
        needed = self._features_nbytes(source, models)
        if needed > self.scratch_bytes:
            raise ConfigError(
                f"the features of {self._most_windows(source)} windows take {needed:,} bytes; scratch_bytes allows "
                f"{self.scratch_bytes:,}\nlower windows_per_class, or raise scratch_bytes"
            )

    def warm_up(self) -> None:
        """scikit-learn, with SciPy and the buffers of its OpenBLAS."""
        warm_up()

    def work(self, source: ImageSource, models: Models) -> Work:
        """Score every image, then take the features of those that have windows; nothing is decoded."""
        counts = class_counts(source)
        return Work(
            class_images=counts,
            images_per_class=self.ipc,
            walks=(Walk(samples=sum(counts) * self.num_draws, step_rows=(2,)),),
            condition_times=self.num_draws + 1,
            # the features, joined, and what k-means makes of them
            scratch_nbytes=4 * self._features_nbytes(source, models) + self._most_windows(source) * WINDOW_NBYTES,
            map_samples=sum(min(count, self.windows_per_class) for count in counts) * self.feature_draws,
            interleaved=True,
        )

    def distill(
        self,
        units: Sequence[Unit],
        source: ImageSource,
        models: Models,
        *,
        resume: Mapping[int, State] = NO_STATES,
    ) -> Iterator[Event]:
        """Select and compose, class by class."""
        for unit in units:
            yield from self._composed(unit, source, models)

    def _composed(self, unit: Unit, source: ImageSource, models: Models) -> Iterator[Event]:
        (class_id,) = unit.class_ids
        name = source.class_names[class_id]
        windows = yield from typical_windows(
            class_id,
            source,
            models,
            fit=self.fit,
            num_draws=self.num_draws,
            draws=lambda image: self._draws(name, image, models),
            side=self._window_side(models),
            per_image=self.windows_per_image,
            per_class=self.windows_per_class,
        )
        features = yield from diffusion_features(
            windows,
            class_id,
            source,
            models,
            fit=self.fit,
            num_draws=self.feature_draws,
            draws=lambda image: self._feature_draws(name, image, models),
        )
        scores = [window.score for window in windows]
        seed = small_seed(self.seed, name, "k-means")
        order, ranks = in_rounds(features, np.array(scores), clusters=self.clusters, seed=seed)
        chosen = order[: self.num_patches(models)]
        if len(chosen) < self.num_patches(models):
            parts = self.parts_of(models)
            raise DataError(
                f"class '{name}' has {len(windows)} windows that do not overlap, ipc={self.ipc} images of {parts} by "
                f"{parts} need {self.num_patches(models)}; lower ipc or window_side, or set parts=1"
            )
        yield from self.composed(
            unit,
            [windows[place] for place in chosen],
            source,
            models,
            columns={
                "typicality": [scores[place] for place in chosen],
                "clusters": [ranks[place] for place in chosen],
            },
            constants={"features_block": models.features.block, "note": RECONSTRUCTION},
            enlarged=self._enlarged(models),
        )

    def _draws(self, class_name: str, image: int, models: Models) -> Iterator[tuple[int, Array]]:
        rng = generator(self.seed, class_name, image, "typicality")
        low, high = (share * models.schedule.num_times for share in self.time_range)
        for draw in range(self.num_draws):
            place = (draw + 0.5) / self.num_draws if self.times == "grid" else rng.random()
            yield int(low + place * (high - low)), rng.standard_normal(models.latent_shape, np.float32)

    def _feature_draws(self, class_name: str, image: int, models: Models) -> Iterator[tuple[int, Array]]:
        rng = generator(self.seed, class_name, image, "features")
        for _ in range(self.feature_draws):
            yield self.feature_time, rng.standard_normal(models.latent_shape, np.float32)

    def _window_side(self, models: Models) -> float:
        return self.window_side or (WHOLE_IMAGE_SIDE if self.parts_of(models) == 1 else 0.5)

    def _enlarged(self, models: Models) -> int:
        """How many times the pack's size images are read at, so that a window has the pixels of a patch."""
        size = patch_size(models.image_size, self.parts_of(models))
        return max(1, -(-size // round(self._window_side(models) * models.image_size)))

    def _features_nbytes(self, source: ImageSource, models: Models) -> int:
        return self._most_windows(source) * models.features.shape[0] * 4

    def _most_windows(self, source: ImageSource) -> int:
        return min(self.windows_per_class, max(class_counts(source)) * self.windows_per_image)
