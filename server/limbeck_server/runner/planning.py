"""Plans a job: measures what is not remembered, and asks the planner.

Profiles come from child processes under the budget, so that planning cannot exceed it either. Small buckets are
measured first; larger ones follow by a straight line where measuring them would take long, and the bucket that is
chosen in the end is measured before it is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from limbeck.backends.base import Backend, Graph
from limbeck.budget import format_nbytes
from limbeck.cache import Cache
from limbeck.data.base import ImageSource
from limbeck.diffusion.step_cache import StepCache
from limbeck.diffusion.tiling import Tiling
from limbeck.errors import BudgetError, LimbeckError, MemoryLimitError
from limbeck.memory.planner import BACKBONE, CODEC, Job, Layout, Plan, Profiles, plan, predict, together
from limbeck.memory.process import give_back, usage
from limbeck.memory.profile import BATCH, Profile, measure_each
from limbeck.memory.remembered import RememberedProfiles
from limbeck.memory.work import Work
from limbeck.methods.base import Method
from limbeck.models import Models, arrays_of, made_image_size, needed_graphs, open_models
from limbeck.pack import Pack, Role

LARGEST_BUCKET = 16
_AFFORDABLE_SECONDS = 20.0
"""What measuring one engine in the larger buckets may take; beyond it they follow by a straight line."""

_SMALLEST_TILE = 16
"""In latents; a smaller tile is mostly edge."""

OnProgress = Callable[[str, int, int], None]


@dataclass(kw_only=True)
class Planner:
    """Plans one job on one pack.

    Args:
        pack: The networks.
        backend: What runs them.
        budget_nbytes: The most private memory; None predicts what happens without a plan.
        bucket: The denoiser's bucket, if it is not to be chosen.
        step_cache: With which the denoiser runs.
        role_backends: What runs a role, where that is another backend.
        cache: Where profiles are remembered.
        on_progress: Called with "measuring", done and total.
    """

    pack: Pack
    backend: Backend
    budget_nbytes: int | None
    bucket: int | None
    step_cache: StepCache | None = None
    role_backends: Mapping[Role, Backend] = field(default_factory=dict)
    cache: Cache = field(default_factory=Cache)
    on_progress: OnProgress = lambda stage, done, total: None
    _num_classes: int = field(default=1, init=False)

    def plan(self, method: Method, source: ImageSource, *, picture_nbytes: int) -> Plan:
        """The plan of `method` on `source`, checked before anything is measured.

        Args:
            method: What is run.
            source: On which images.
            picture_nbytes: What decoding one of them takes at most.

        Raises:
            BudgetError: No plan fits; it says what would.
            LimbeckError: The method refuses the source or the pack.
        """
        graphs = needed_graphs(self.pack, method.needs, self.step_cache)
        layout = _nothing_loaded(graphs)
        with open_models(
            self.pack,
            self.backend,
            needs=method.needs,
            layout=layout,
            step_cache=self.step_cache,
            role_backends=self.role_backends,
        ) as models:
            method.check(source, models)
            work = method.work(source, models)
        refuse_short(work, self.step_cache)
        self._num_classes = len(source.class_names)
        base_nbytes = self._base()
        buckets = self._buckets(work)
        profiles: dict[tuple[Role, int | None, int], Profile] = {}
        for number, (role, graph) in enumerate(graphs.items()):
            self.on_progress("measuring", number, len(graphs))
            asked = [self._together(graphs).codec_bucket] if role in CODEC and self.budget_nbytes is None else buckets
            profiles |= self._profiles(role, graph, models, asked)
        self.on_progress("measuring", len(graphs), len(graphs))
        job = Job(
            roles=tuple(graphs),
            base_nbytes=base_nbytes,
            profiles=_complete(profiles, graphs),
            work=work,
            arrays=arrays_of(self.pack, picture_nbytes=picture_nbytes, step_cache=self.step_cache),
            tiles={},
            full_every=self.step_cache.every if self.step_cache else 1,
        )
        try:
            return self._settled(job, graphs, models)
        except BudgetError:
            tiled = self._tiled(job, graphs, models)
            if not tiled.tiles:
                raise
            return self._settled(tiled, graphs, models)

    def _tiled(self, job: Job, graphs: Mapping[Role, Graph], models: Models) -> Job:
        """The job with what the codec costs on tiles of a half and a quarter of the image, one at a time."""
        if not set(CODEC) & graphs.keys():
            return job
        side = models.latent_shape[-1]
        profiles, tiles = dict(job.profiles), {}
        for tile in (side // 2, side // 4):
            if tile < _SMALLEST_TILE or not all(_any_size(graphs[role]) for role in CODEC):
                continue
            made = {role: self._measured(role, graphs[role], models, [1], tile=tile).get(1) for role in CODEC}
            profiles |= {(role, tile, 1): profile for role, profile in made.items() if profile is not None}
            tiles[tile] = Tiling.of(tile).count(side, side)
        return replace(job, profiles=_complete(profiles, job.roles), tiles=tiles)

    def _base(self) -> int:
        """Private memory of this process, which has its libraries already, and now the runtime."""
        for backend in (self.backend, *self.role_backends.values()):
            backend.fingerprint()
        give_back()
        return usage().private_nbytes

    def _buckets(self, work: Work) -> list[int]:
        """Powers of two up to what the images fill, and the bucket that was asked for."""
        if self.budget_nbytes is None:
            return [self.bucket or LARGEST_BUCKET]
        powers = [2**i for i in range(LARGEST_BUCKET.bit_length()) if i == 0 or 2 ** (i - 1) < work.num_images]
        return sorted({*powers, *([self.bucket] if self.bucket else [])})

    def _settled(self, job: Job, graphs: Mapping[Role, Graph], models: Models) -> Plan:
        """The plan, once every profile it rests on is measured."""
        while True:
            chosen = self._chosen(job)
            guessed = [role for role in job.roles if not job.profile(role, chosen.layout).measured]
            if not guessed:
                return chosen
            profiles = dict(job.profiles)
            for role in guessed:
                layout = chosen.layout
                bucket = layout.codec_bucket if role in CODEC else layout.bucket
                found = self._measured(role, graphs[role], models, [bucket])
                if bucket in found:
                    profiles[role, None, bucket] = found[bucket]
                else:
                    del profiles[role, None, bucket]
            job = replace(job, profiles=_complete(profiles, job.roles))

    def _chosen(self, job: Job) -> Plan:
        if self.budget_nbytes is None:
            return predict(job, self._together(job.roles))
        return plan(job, budget_nbytes=self.budget_nbytes, bucket=self.bucket)

    def _together(self, roles: Iterable[Role]) -> Layout:
        size = made_image_size(self.pack.manifest)
        return together(tuple(roles), bucket=self.bucket or LARGEST_BUCKET, image_size=size)

    def _profiles(self, role: Role, graph: Graph, models: Models, buckets: list[int]) -> Profiles:
        """Profiles of one engine in every bucket in which it fits."""
        found = self._measured(role, graph, models, buckets[:2])
        if not found and role in CODEC:
            return {}  # on tiles it may fit
        if not found:
            raise self._too_large(role)
        rest = [bucket for bucket in buckets[2:] if len(found) == 2]
        if rest:
            small, large = (found[bucket] for bucket in buckets[:2])
            seconds = 2 * large.run_seconds * sum(rest) / large.bucket
            if seconds <= _AFFORDABLE_SECONDS:
                found |= self._measured(role, graph, models, rest)
            else:
                found |= {bucket: _on_the_line(small, large, bucket) for bucket in rest}
        return {(role, None, bucket): profile for bucket, profile in found.items()}

    def _measured(
        self, role: Role, graph: Graph, models: Models, buckets: list[int], *, tile: int | None = None
    ) -> dict[int, Profile]:
        """Remembered or measured now; without the buckets that do not fit."""
        remembered = RememberedProfiles(self.cache)
        backend = self.role_backends.get(role, self.backend)
        sizes = {
            bucket: sizes_of(role, graph, models, bucket, tile=tile, num_classes=self._num_classes)
            for bucket in buckets
        }
        found = {bucket: remembered.get(graph, backend, sizes[bucket]) for bucket in buckets}
        missing = [bucket for bucket, profile in found.items() if profile is None]
        if missing:
            asked = [sizes[bucket] for bucket in missing]
            made = measure_each(graph, backend, sizes=asked, limit_nbytes=self.budget_nbytes)
            for bucket, profile in zip(missing, made, strict=True):
                if not isinstance(profile, MemoryLimitError):
                    remembered.put(graph, backend, sizes[bucket], profile)
                    found[bucket] = profile
        return {bucket: profile for bucket, profile in found.items() if profile is not None}

    def _too_large(self, role: Role) -> LimbeckError:
        if self.budget_nbytes is None:
            return MemoryLimitError(f"engine {role} does not fit into the memory that the system grants, in any bucket")
        entry = self.pack.manifest.graphs[role]
        stored = sum(self.pack.manifest.files[name].nbytes for name in (entry.file, *entry.external))
        return BudgetError(
            f"nothing fits in {format_nbytes(self.budget_nbytes)}: engine {role} alone does not, in a bucket of 1\n"
            f"  largest part: engine {role}, {format_nbytes(stored)} of stored weights at {entry.precision}\n"
            f"  would fit:    a budget well above {format_nbytes(max(stored, self.budget_nbytes))}, or a pack with a "
            f"smaller {role}: limbeck build PACK --out SMALLER --precision int8",
            needed_nbytes=max(stored, self.budget_nbytes + 1),
            budget_nbytes=self.budget_nbytes,
            largest_part=f"engine {role}",
        )


def refuse_short(work: Work, step_cache: StepCache | None) -> None:
    """Refuse work with a walk that is too short for the step cache.

    Raises:
        ConfigError: There is one.
    """
    if step_cache is not None:
        for walk in work.walks:
            step_cache.check_steps(len(walk.step_rows))


def sizes_of(
    role: Role, graph: Graph, models: Models, bucket: int, *, tile: int | None = None, num_classes: int = 1
) -> dict[str, int]:
    """The size of every free dimension of `graph` when it makes images in this bucket, whole or in tiles."""
    if role in BACKBONE:
        free = {size for tensor in graph.spec.inputs for size in tensor.shape if isinstance(size, str)}
        return {size: bucket if size == BATCH else num_classes for size in free}
    latents = models.latent_shape[-1]
    side = tile or latents
    if role == "encoder":
        side *= models.image_size // latents
    sizes = {BATCH: bucket}
    for tensor in graph.spec.inputs:
        for dimension in tensor.shape[2:]:
            if isinstance(dimension, str):
                sizes[dimension] = side
    return sizes


def _any_size(graph: Graph) -> bool:
    """Whether a graph of the codec takes images of any height and width."""
    return all(isinstance(size, str) for tensor in graph.spec.inputs for size in tensor.shape[2:])


def _nothing_loaded(graphs: Iterable[Role]) -> Layout:
    """To ask what a job needs: engines are loaded when they run, and none runs."""
    return Layout(bucket=1, codec_bucket=1, tile=None, groups=tuple((role,) for role in graphs), wave=1, table_nbytes=0)


def _on_the_line(small: Profile, large: Profile, bucket: int) -> Profile:
    """What a larger bucket costs if every sample costs the same."""
    steps = (bucket - small.bucket) / (large.bucket - small.bucket)
    return Profile(
        bucket=bucket,
        load_nbytes=large.load_nbytes,
        resident_nbytes=_line(small.resident_nbytes, large.resident_nbytes, steps),
        run_nbytes=_line(small.run_nbytes, large.run_nbytes, steps),
        load_seconds=large.load_seconds,
        run_seconds=small.run_seconds + max(large.run_seconds - small.run_seconds, 0) * steps,
        measured=False,
    )


def _line(small: int, large: int, steps: float) -> int:
    return small + int(max(large - small, 0) * steps)


def _complete(profiles: Profiles, roles: Iterable[Role]) -> Profiles:
    """Without the sizes that some engine does not fit in: they are no choice for the others either."""
    kept: dict[tuple[Role, int | None, int], Profile] = {}
    for group in ([role for role in roles if role in CODEC], [role for role in roles if role not in CODEC]):
        if not group:
            continue
        shared = set.intersection(*({key[1:] for key in profiles if key[0] == role} for role in group))
        kept |= {key: profile for key, profile in profiles.items() if key[0] in group and key[1:] in shared}
    return kept


def describe(plan: Plan) -> dict[str, object]:
    """A plan as JSON values."""
    layout = plan.layout
    return {
        "peak_nbytes": plan.peak_nbytes,
        "parts": dict(plan.parts),
        "stages": dict(plan.stages),
        "seconds": round(plan.seconds, 3),
        "bucket": layout.bucket,
        "codec_bucket": layout.codec_bucket,
        "tile": layout.tile,
        "groups": [list(group) for group in layout.groups],
        "wave": layout.wave,
    }
