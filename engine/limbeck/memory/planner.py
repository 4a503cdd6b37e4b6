"""The planner: which engines are loaded together, in which buckets, so that the peak fits a budget. Pure integers.

    profiles (measured) + work (of the method) + arrays (of the pack)  ->  layouts, each with its peak and its time
    the fastest layout whose peak fits                                 ->  the plan, or a refusal that names the least

A layout is tried whatever the budget is, and the budget only decides which of them may be taken. More budget can
therefore never give a slower plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, pairwise

from limbeck.budget import format_nbytes
from limbeck.errors import BudgetError
from limbeck.memory.profile import Profile
from limbeck.memory.work import Arrays, Work
from limbeck.pack import Role

CODEC: tuple[Role, ...] = ("encoder", "decoder")
BACKBONE: tuple[Role, ...] = ("backbone", "gradient", "flow_gradient")

RESERVE_NBYTES = 24 * 2**20
"""What plans leave free at least: libraries take buffers when they like. Runs of the mini pack came out up to 22 MiB
above their prediction."""

_RESERVE_PART = 64
"""The part of the peak that is left free where that is more: the same engine measured again differs by about 1 %."""

_WAVE_COST = 0.05
"""A wave is long enough when loading its engines takes less than this part of the time."""

_IMAGE_COPIES = 5
"""Copies of a batch of images between reading and the encoder: the pictures, their stack, the codec's scaled ones with
a temporary, and the padded bucket; as many on the way back."""

_ROW_COPIES = 3
"""Copies of a row of the denoiser's condition in one call: remembered, stacked, and cut into the bucket."""

_LATENT_COPIES = 24
"""Copies of a latent while it is denoised: guidance, the sampler's history, predictions with variance."""


_MIDDLE_COPIES = 2
"""Copies of what the middle blocks added to a row, in one call, beside those that are remembered: as the engine gave
it, and joined."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a job uses memory. With the seed, `bucket`, `codec_bucket` and `tile` decide an image; the rest does not.

    Args:
        bucket: Samples in one call of the denoiser's engines.
        codec_bucket: Images in one call of the encoder or decoder.
        tile: Height and width of a tile in latents; None runs the codec on whole images.
        groups: Roles that are loaded together, in the order in which they run; one group keeps everything loaded.
        wave: Images that are denoised before any of them is decoded.
        table_nbytes: The most that remembered conditions may take.
    """

    bucket: int
    codec_bucket: int
    tile: int | None
    groups: tuple[tuple[Role, ...], ...]
    wave: int
    table_nbytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A layout, and what it is predicted to cost.

    Args:
        layout: What to do.
        peak_nbytes: The most private memory at any moment.
        parts: That moment, part by part; they add up to the peak.
        stages: The peak of each role's turn.
        seconds: How long the engines take, loading included.
        budget_nbytes: What it had to fit in; None if nothing was asked.
    """

    layout: Layout
    peak_nbytes: int
    parts: Mapping[str, int]
    stages: Mapping[Role, int]
    seconds: float
    budget_nbytes: int | None


Profiles = Mapping[tuple[Role, int | None, int], Profile]
"""By role, tile (None for a whole image and for the denoiser's engines) and bucket."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a plan depends on beside the budget.

    Args:
        roles: The engines, in the order in which a wave needs them: encoder, what makes conditions, trunk (and
            shallow, with a step cache), decoder.
        base_nbytes: Private memory of the process with everything imported and no engine.
        profiles: What each engine costs.
        work: What is to be done.
        arrays: Sizes of what lies between engines.
        tiles: How many tiles an image is cut in, by tile.
        full_every: One step in about so many runs the whole trunk, the others the shallow graph; 1 has no step cache.
    """

    roles: tuple[Role, ...]
    base_nbytes: int
    profiles: Profiles
    work: Work
    arrays: Arrays
    tiles: Mapping[int, int]
    full_every: int = 1

    def profile(self, role: Role, layout: Layout) -> Profile:
        """What `role` costs in `layout`."""
        if role in CODEC:
            return self.profiles[role, layout.tile, layout.codec_bucket]
        return self.profiles[role, None, layout.bucket]


def plan(job: Job, *, budget_nbytes: int, bucket: int | None = None) -> Plan:
    """The fastest layout whose peak fits; whole images before tiles, and of equally fast ones the smallest.

    Args:
        job: What is to be done with which engines.
        budget_nbytes: The most private memory the process may have.
        bucket: The denoiser's bucket, if it is not to be chosen.

    Raises:
        BudgetError: None fits; it names the largest part and what would fit.
    """
    plans = [predict(job, layout, budget_nbytes=budget_nbytes) for layout in layouts(job, bucket)]
    asked = [one for one in plans if bucket in (None, one.layout.bucket)]
    fitting = [one for one in asked if least_budget(one) <= budget_nbytes]
    if not fitting:
        raise _refusal(asked, plans, budget_nbytes, bucket)
    return min(fitting, key=_order)


def _order(plan: Plan) -> tuple[bool, float, int, int, int]:
    layout = plan.layout
    return layout.tile is not None, plan.seconds, len(layout.groups), layout.wave, plan.peak_nbytes


def codec_bucket(bucket: int, image_size: int) -> int:
    """Images that share a call of the codec where nobody plans: as many pixels as `bucket` images of 64 by 64 have.

    One image of 256 pixels fills a processor; sixteen of them take 5 GB, and a small class would be padded to sixteen.
    """
    return max(1, min(bucket, bucket * 64**2 // image_size**2))


def together(roles: Sequence[Role], *, bucket: int, image_size: int = 64, table_nbytes: int = 64 * 2**20) -> Layout:
    """What is done where nobody plans: every engine stays loaded."""
    return Layout(
        bucket=bucket,
        codec_bucket=codec_bucket(bucket, image_size),
        tile=None,
        groups=(tuple(roles),),
        wave=bucket,
        table_nbytes=table_nbytes,
    )


def shrunk(layout: Layout) -> Layout | None:
    """A layout that takes less, for when memory ran out although a plan said it would do; None if there is none.

    The buckets are halved; at a bucket of one, engines are loaded one after another.
    """
    if layout.bucket > 1 or layout.codec_bucket > 1:
        half = max(layout.bucket // 2, 1)
        return replace(layout, bucket=half, codec_bucket=max(min(layout.codec_bucket // 2, half), 1))
    apart = turns([role for group in layout.groups for role in group])
    return None if layout.groups == apart else replace(layout, groups=apart)


def turns(roles: Sequence[Role]) -> tuple[tuple[Role, ...], ...]:
    """Each role by itself, but `shallow` with the `trunk` before it: a walk goes back and forth between these two."""
    return tuple(
        (role, "shallow") if role == "trunk" and "shallow" in roles else (role,) for role in roles if role != "shallow"
    )


def least_budget(plan: Plan) -> int:
    """The smallest budget that `plan` fits in: its peak and the reserve."""
    return plan.peak_nbytes + max(RESERVE_NBYTES, plan.peak_nbytes // _RESERVE_PART)


def predict(job: Job, layout: Layout, *, budget_nbytes: int | None = None) -> Plan:
    """What `layout` costs."""
    peaks = {role: _parts(job, layout, role) for role in job.roles}
    # a method without networks holds what it reads and what it makes
    worst = max(peaks.values(), key=lambda parts: sum(parts.values()), default=_without_engines(job, layout))
    return Plan(
        layout=layout,
        peak_nbytes=sum(worst.values()),
        parts={name: nbytes for name, nbytes in worst.items() if nbytes},
        stages={role: sum(parts.values()) for role, parts in peaks.items()},
        seconds=_seconds(job, layout),
        budget_nbytes=budget_nbytes,
    )


def layouts(job: Job, bucket: int | None = None) -> Iterator[Layout]:
    """Every layout that the profiles tell the cost of; `bucket` is what was asked for, where no engine runs in it."""
    buckets = sorted({bucket for role, _, bucket in job.profiles if role not in CODEC})
    codecs = sorted({(tile or 0, bucket) for role, tile, bucket in job.profiles if role in CODEC})
    if not set(job.roles) & set(CODEC):
        codecs = [(0, 1)]
    if not set(job.roles) - set(CODEC):
        buckets = [bucket or 1]
    for samples in buckets:
        for tile, codec_bucket in codecs:
            for groups in _groupings(job):
                for wave in _waves(job, samples):
                    yield Layout(
                        bucket=samples,
                        codec_bucket=codec_bucket,
                        tile=tile or None,
                        groups=groups,
                        wave=wave,
                        table_nbytes=_table_nbytes(job, wave),
                    )


def _groupings(job: Job) -> Iterator[tuple[tuple[Role, ...], ...]]:
    """The turns cut into runs of neighbors, in every way: neighbors run one after another."""
    parts = turns(job.roles)
    for count in range(1 if job.work.interleaved else max(len(parts), 1)):  # without engines one empty group
        for cuts in combinations(range(1, len(parts)), count):
            edges = (0, *cuts, len(parts))
            yield tuple(tuple(chain(*parts[start:end])) for start, end in pairwise(edges))


def _waves(job: Job, bucket: int) -> Iterator[int]:
    """Multiples of the bucket by powers of two, up to the first that makes loading cheap, or to all images."""
    if job.work.interleaved or not job.work.walks:
        yield bucket
        return
    load = sum(profile.load_seconds for profile in _firsts(job).values())
    steps = sum(job.profiles["trunk", None, bucket].run_seconds * rows for rows in job.work.walks[0].step_rows)
    wave = bucket
    while True:
        yield wave
        if wave >= job.work.num_images or load <= _WAVE_COST * steps * wave / bucket:
            return
        wave *= 2


def _firsts(job: Job) -> dict[Role, Profile]:
    """One profile of each role; loading costs the same whatever the bucket is."""
    found: dict[Role, Profile] = {}
    for (role, _, _), profile in job.profiles.items():
        found.setdefault(role, profile)
    return found


def _table_nbytes(job: Job, wave: int) -> int:
    return job.work.conditions(wave, each_time=job.arrays.condition_each_time) * job.arrays.condition_nbytes


def _parts(job: Job, layout: Layout, role: Role) -> dict[str, int]:
    """The peak while it is `role`'s turn: when it is loaded or when it runs."""
    (group,) = (group for group in layout.groups if role in group)
    others = {other: job.profile(other, layout).resident_nbytes for other in group if other != role}
    own = job.profile(role, layout)
    return {
        "process": job.base_nbytes,
        f"engine {role}": own.resident_nbytes,
        f"calls of {role}": own.peak_nbytes - own.resident_nbytes,
        **{f"engine {other}": nbytes for other, nbytes in others.items()},
        "images and latents": _host_nbytes(job, layout, role),
    }


def _without_engines(job: Job, layout: Layout) -> dict[str, int]:
    work, arrays = job.work, job.arrays
    images = (layout.bucket * _IMAGE_COPIES + work.images_per_class * 2) * arrays.image_nbytes
    return {"process": job.base_nbytes, "images and latents": images + work.scratch_nbytes + arrays.picture_nbytes}


def _host_nbytes(job: Job, layout: Layout, role: Role) -> int:
    """Arrays in the process while it is `role`'s turn."""
    work, arrays = job.work, job.arrays
    wave = min(layout.wave, work.num_images) * arrays.latent_nbytes
    if role == "encoder":
        batch = layout.codec_bucket * arrays.image_nbytes * _IMAGE_COPIES
        # the clusters' scratch comes after the last batch of a class, but its latents are held while it is encoded
        return wave + max(batch, work.scratch_nbytes) + arrays.picture_nbytes
    if role == "decoder":
        unfinished = work.images_per_class * arrays.image_nbytes * 2
        return 2 * wave + layout.codec_bucket * arrays.image_nbytes * _IMAGE_COPIES + unfinished
    if role in BACKBONE:
        batch = layout.bucket * arrays.feature_image_nbytes * _IMAGE_COPIES
        made = work.images_per_class * arrays.image_nbytes * 2
        return max(batch, work.scratch_nbytes) + made + arrays.picture_nbytes
    middles = arrays.middle_nbytes * (arrays.middles + _MIDDLE_COPIES)
    rows = layout.bucket * 2 * (arrays.condition_nbytes * _ROW_COPIES + middles)
    return wave + layout.table_nbytes + rows + layout.bucket * arrays.latent_nbytes * _LATENT_COPIES


def _seconds(job: Job, layout: Layout) -> float:
    """Engine calls and loads; reading and writing images is not in it."""
    work, tiles = job.work, job.tiles.get(layout.tile, 1) if layout.tile else 1
    conditions = work.conditions(work.num_images, each_time=job.arrays.condition_each_time)
    walked = work.trunk_calls(layout.bucket)
    full = -(-walked // job.full_every)
    calls: dict[Role, int] = {
        "backbone": work.feature_calls(layout.bucket),
        "gradient": -(-work.gradient_rows // layout.bucket),
        "flow_gradient": 0,
        "encoder": work.encode_calls(layout.codec_bucket) * tiles,
        "features": work.map_calls(layout.bucket),
        "trunk": full,
        "shallow": walked - full,
        "decoder": work.decode_calls(layout.codec_bucket, layout.wave) * tiles,
    }
    loads = -(-work.num_images // layout.wave) if len(layout.groups) > 1 else 1
    total = 0.0
    for role in job.roles:
        profile = job.profile(role, layout)
        total += loads * profile.load_seconds + calls.get(role, -(-conditions // layout.bucket)) * profile.run_seconds
    return total


def _refusal(asked: Sequence[Plan], every: Sequence[Plan], budget_nbytes: int, bucket: int | None) -> BudgetError:
    """The error that says what would fit."""
    if not every:
        return BudgetError(
            f"nothing fits in {format_nbytes(budget_nbytes)}: the codec does not fit on one image at a time",
            needed_nbytes=budget_nbytes + 1,
            budget_nbytes=budget_nbytes,
            largest_part="codec",
        )
    smallest = min(asked or every, key=lambda one: one.peak_nbytes)
    largest = max(smallest.parts, key=lambda part: smallest.parts[part])
    needed = max(least_budget(smallest), budget_nbytes + 1)
    fitting = [one.layout.bucket for one in every if least_budget(one) <= budget_nbytes]
    lines = [
        f"nothing fits in {format_nbytes(budget_nbytes)}" + (f" with a bucket of {bucket}" if bucket else ""),
        f"  largest part: {largest}, {format_nbytes(smallest.parts[largest])}",
    ]
    fits = [f"--budget {-(-needed // 2**20)}MiB"] if asked else []
    fits += [f"--bucket {max(fitting)}"] if fitting else []
    if largest.startswith(("engine", "calls")):
        role = largest.rsplit(" ", 1)[1]
        fits.append(f"a pack with a smaller {role}: limbeck build PACK --out SMALLER --precision int8")
    lines.append("  would fit:    " + "\n                ".join(fits))
    return BudgetError("\n".join(lines), needed_nbytes=needed, budget_nbytes=budget_nbytes, largest_part=largest)
