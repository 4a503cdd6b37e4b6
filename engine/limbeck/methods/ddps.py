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

import heapq
from collections.abc import Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from limbeck.arrays import Array
from limbeck.data.base import Fit, ImageSource
from limbeck.errors import ConfigError, DataError
from limbeck.memory.work import Walk, Work
from limbeck.methods.base import NO_STATES, DistilledImages, Event, Progress, State, Unit
from limbeck.methods.shared.by_class import class_counts, one_unit_a_class, refuse_small_classes
from limbeck.methods.shared.clustering import warm_up
from limbeck.methods.shared.generation import refuse_not_finite
from limbeck.methods.shared.mosaic import mosaic, patch_size, usual_parts
from limbeck.methods.shared.noised_means import image_latents, noised_means
from limbeck.methods.shared.rounds import in_rounds
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.methods.shared.typicality import loss_differences
from limbeck.methods.shared.windows import NBYTES as WINDOW_NBYTES
from limbeck.methods.shared.windows import Window, best_windows, cut_windows, features_of_windows, patch_rows
from limbeck.models import Models, Part
from limbeck.randomness import generator, small_seed

RECONSTRUCTION = "a reconstruction of DDPS from its abstract; the paper's code is not public"

WHOLE_IMAGE_SIDE = 0.75
"""The usual window of an image that is one patch: better than a half on the `mini` pack (docs/experiments.md)."""


@dataclass(frozen=True, kw_only=True)
class DDPS:
    """Typical patches, clustered and composed. A reconstruction: its results are not the paper's.

    Args:
        ipc: Images per class.
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
        parts: Patches along the side of an image; None is 2, and 1 for images up to 64 pixels, as RDED has it.
        fit: How real images become square.
        scratch_bytes: The most that the features of a class's windows may take, in bytes; clustering needs four times
            that.
    """

    name: ClassVar[str] = "ddps"
    needs: ClassVar[AbstractSet[Part]] = frozenset({"codec", "denoiser", "features"})
    ipc: int
    seed: int = 0
    num_draws: int = 10
    time_range: tuple[float, float] = (0.1, 0.7)
    times: Literal["grid", "uniform"] = "grid"
    window_side: float | None = None
    windows_per_image: int = 5
    windows_per_class: int = 1000
    clusters: int = 32
    feature_time: int = 161
    feature_draws: int = 8
    parts: int | None = None
    fit: Fit = "crop"
    scratch_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        refuse_below_one(
            self, "ipc", "num_draws", "windows_per_image", "windows_per_class", "clusters", "feature_draws"
        )
        if self.parts is not None and self.parts < 1:
            raise ConfigError(f"parts must be at least 1, or None for the usual, got {self.parts}")
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
        refuse_small_classes(source, ipc=self.ipc)
        models.conditioning.of_classes(source.class_names)
        if not 0 <= self.feature_time < models.schedule.num_times:
            raise ConfigError(
                f"feature_time={self.feature_time} is no time of the schedule: 0..{models.schedule.num_times - 1}"
            )
        patch_size(models.image_size, self._parts(models))
        if round(self._window_side(models) * models.image_size) < 1:
            raise ConfigError(f"window_side={self.window_side} of {models.image_size} pixels is no window; raise it")
        wanted = self.ipc * self._parts(models) ** 2
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

    def units(self, source: ImageSource) -> Sequence[Unit]:
        """One unit a class."""
        return one_unit_a_class(source)

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
        parts = self._parts(models)
        for unit in units:
            (class_id,) = unit.class_ids
            windows = yield from self._typical(class_id, source, models)
            features = yield from self._features(windows, class_id, source, models)
            order, ranks = in_rounds(
                features,
                np.array([window.score for window in windows]),
                clusters=self.clusters,
                seed=small_seed(self.seed, source.class_names[class_id], "k-means"),
            )
            chosen = [windows[place] for place in order[: self.ipc * parts**2]]
            if len(chosen) < self.ipc * parts**2:
                raise DataError(
                    f"class '{source.class_names[class_id]}' has {len(windows)} windows that do not overlap, ipc="
                    f"{self.ipc} images of {parts} by {parts} need {self.ipc * parts**2}; lower ipc or window_side, "
                    "or set parts=1"
                )
            patches = yield from self._patches(chosen, class_id, source, models)
            rows = patch_rows(
                chosen,
                source.names(class_id),
                seed=self.seed,
                images=self.ipc,
                parts=parts,
                order="consecutive",
                columns={
                    "typicality": [window.score for window in chosen],
                    "clusters": [ranks[place] for place in order],
                },
                constants={"features_block": models.features.block, "note": RECONSTRUCTION},
            )
            yield DistilledImages(unit, mosaic(patches, parts), unit.class_ids * self.ipc, rows)

    def _typical(self, class_id: int, source: ImageSource, models: Models) -> Generator[Progress, None, list[Window]]:
        """The windows of a class with the highest score, the best first."""
        name = source.class_names[class_id]
        count = len(source.names(class_id))
        best: list[Window] = []
        scored = 0
        for made in noised_means(
            image_latents(class_id, source, models, fit=self.fit, stage=f"encode {name}"),
            num_draws=self.num_draws,
            draws=lambda image: self._draws(name, image, models),
            ask=lambda noised, times, noise: loss_differences(
                models.denoiser,
                noised,
                times,
                noise,
                models.conditioning.of_classes([name] * len(times)),
                models.conditioning.null(len(times)),
            ),
            schedule=models.schedule,
            bucket=models.bucket,
        ):
            if isinstance(made, Progress):
                yield made
                continue
            for image, scores in made:
                refuse_not_finite(scores)
                best += best_windows(
                    scores,
                    image=image,
                    size=models.image_size,
                    side=self._window_side(models),
                    count=self.windows_per_image,
                )
            best = heapq.nlargest(self.windows_per_class, best, key=lambda window: window.score)
            scored += len(made)
            yield Progress(f"score {name}", scored, count)
        return best

    def _features(
        self, windows: Sequence[Window], class_id: int, source: ImageSource, models: Models
    ) -> Generator[Progress, None, Array]:
        """The mean diffusion features of each window, of length 1, shape (windows, channels)."""
        name = source.class_names[class_id]
        means = noised_means(
            image_latents(
                class_id,
                source,
                models,
                fit=self.fit,
                stage=f"encode {name} again",
                images={window.image for window in windows},
            ),
            num_draws=self.feature_draws,
            draws=lambda image: self._feature_draws(name, image, models),
            ask=lambda noised, times, noise: models.features.maps(
                noised, times, models.conditioning.of_classes([name] * len(times))
            ),
            schedule=models.schedule,
            bucket=models.bucket,
        )
        channels = models.features.shape[0]
        return (yield from features_of_windows(windows, means, channels=channels, stage=f"features of {name}"))

    def _patches(
        self, chosen: Sequence[Window], class_id: int, source: ImageSource, models: Models
    ) -> Generator[Progress, None, Array]:
        size = patch_size(models.image_size, self._parts(models))
        # large enough that a window has the pixels of a patch
        times = max(1, -(-size // round(self._window_side(models) * models.image_size)))
        patches = yield from cut_windows(
            chosen,
            class_id,
            source,
            fit=self.fit,
            read_size=times * models.image_size,
            size=size,
            batch=max(1, models.images_at_a_time // times**2),
        )
        return patches

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

    def _parts(self, models: Models) -> int:
        return self.parts or usual_parts(models.image_size)

    def _window_side(self, models: Models) -> float:
        return self.window_side or (WHOLE_IMAGE_SIDE if self._parts(models) == 1 else 0.5)

    def _features_nbytes(self, source: ImageSource, models: Models) -> int:
        return self._most_windows(source) * models.features.shape[0] * 4

    def _most_windows(self, source: ImageSource) -> int:
        return min(self.windows_per_class, max(class_counts(source)) * self.windows_per_image)
