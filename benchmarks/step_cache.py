"""What a step cache costs and saves, beside its rivals: fewer steps, and foretelling the prediction itself.

    python -m benchmarks.step_cache --out benchmarks/results/step_cache-DATE.json
    python -m benchmarks.step_cache --out FILE --time-only packs/dit-xl

The first makes images of the mini pack (`benchmarks.mini_quality` says what the figures are). Beside their worth:

error       median relative L2 distance of the final latents to those of the same walk without a cache
blocks      transformer blocks that one image took, of all those of the same walk without a cache
seconds     of all images; the variants run one after another, twice around, and the better run counts

The second only times the trunk and the shallow graph of a pack, in turn; its images are not looked at.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from benchmarks.mini_quality import Judge, Walk, machine, make_latents, relative_error

from limbeck.arrays import Array, Latents
from limbeck.backbone import open_backbone
from limbeck.backends.base import GraphSpec
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.base import Denoiser
from limbeck.diffusion.step_cache import CachedDitDenoiser, StepCache
from limbeck.engine import Engine, compile
from limbeck.export.step_cache import add_shallow
from limbeck.models import Models, open_models
from limbeck.pack import DenoiserInfo, Pack, Role

DEPTH = 4  # blocks of the mini pack's DiT
CUTS = ((1, 1), (1, 0))
CACHES = tuple(StepCache(every=every, order=order) for every in (2, 3) for order in (0, 1))
WALKS = (Walk("ddim", 50), Walk("ddim", 25), Walk("dpm++2m", 25))
FEWER = (Walk("ddim", 31), Walk("ddim", 16), Walk("dpm++2m", 20), Walk("dpm++2m", 15), Walk("dpm++2m", 10))
ROLES: tuple[Role, ...] = ("conditioner", "trunk", "shallow")


class Counted:
    """An engine that counts the rows it runs."""

    def __init__(self, engine: Engine) -> None:
        """Count from 0."""
        self._engine, self.rows = engine, 0

    @property
    def spec(self) -> GraphSpec:
        """The engine's."""
        return self._engine.spec

    @property
    def key(self) -> str:
        """The engine's."""
        return self._engine.key

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The engine's answer."""
        self.rows += len(feeds["latents"]) if "latents" in feeds else 0
        return self._engine.run(feeds)


class PredictionAsMiddle(Counted):
    """A trunk that gives its prediction as what is to be foretold: no block runs on the steps between."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The prediction, twice."""
        prediction = super().run(feeds)["prediction"]
        return {"prediction": prediction, "middle": prediction}


class MiddleAsPrediction(Counted):
    """Runs nothing: the prediction is what was foretold."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """What was foretold."""
        return {"prediction": feeds["middle"]}


@dataclass(frozen=True)
class Variant:
    """A walk with a denoiser that may take short cuts; `shallow_share` is the cost of a shallow step."""

    name: str
    walk: Walk
    cache: StepCache | None = None
    cut: tuple[int, int] | None = None

    @property
    def shallow_share(self) -> float:
        """Blocks of a shallow step, of all."""
        return sum(self.cut or (0, 0)) / DEPTH


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure; print a table and write every figure as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--per-class", type=int, default=10)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--time-only", type=Path, metavar="PACK")
    options = parser.parse_args(arguments)
    backend = OnnxRuntime(threads=options.threads)
    result = (
        timed(options.time_only, backend, rounds=options.rounds)
        if options.time_only
        else worth_on_mini(backend, per_class=options.per_class, rounds=options.rounds)
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result | {"machine": machine()}, indent=1) + "\n")


def variants() -> Iterator[Variant]:
    """What is compared; each walk without a cache comes before its short cuts."""
    for walk in WALKS:
        yield Variant("no cache", walk)
        for cache in CACHES:
            setting = f"every {cache.every}, order {cache.order}"
            for cut in CUTS:
                yield Variant(f"{setting}, {cut[0]} + {cut[1]} blocks", walk, cache, cut)
            yield Variant(f"{setting}, the prediction", walk, cache)
    for walk in FEWER:
        yield Variant("no cache", walk)


def worth_on_mini(backend: OnnxRuntime, *, per_class: int, rounds: int) -> dict[str, object]:
    """Every variant on the mini pack."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_models(Pack.open("mini"), backend) as models,
        open_backbone(Pack.open("mini"), backend) as backbone,
    ):
        packs = {cut: _cut(Path(folder) / f"{cut[0]}-{cut[1]}", *cut) for cut in CUTS}
        judge = Judge(models, backbone)
        seconds: dict[Variant, list[float]] = {}
        made: dict[Variant, tuple[Latents, float]] = {}
        for _ in range(rounds):
            for variant in variants():
                with _denoiser(variant, packs, models, backend) as (denoiser, trunk, shallow):
                    start = time.perf_counter()
                    latents = make_latents(models, denoiser, variant.walk, per_class=per_class)
                    seconds.setdefault(variant, []).append(time.perf_counter() - start)
                    made[variant] = latents, trunk.rows + variant.shallow_share * shallow.rows
        rows = []
        for variant, (latents, blocks) in made.items():
            whole, all_blocks = made[Variant("no cache", variant.walk)]
            error, share, best = relative_error(latents, whole), blocks / all_blocks, min(seconds[variant])
            worth = judge.worth(latents)
            print(
                f"{variant.walk.sampler} {variant.walk.num_steps}, {variant.name:<34} {worth}  error {error:.3f}  "
                f"blocks {100 * share:3.0f} %  {best:5.1f} s",
                flush=True,
            )
            figures = {"error": error, "blocks": share, "seconds": seconds[variant]}
            rows.append({"variant": variant.name} | asdict(variant.walk) | asdict(worth) | figures)
    return {"per_class": per_class, "rows": rows}


def timed(folder: Path, backend: OnnxRuntime, *, rounds: int, batch: int = 2) -> dict[str, object]:
    """Seconds of the trunk and of the shallow graph of a pack with both, at the batch of one guided image."""
    pack = Pack.open(folder)
    with compile(pack.graph("trunk"), backend) as trunk, compile(pack.graph("shallow"), backend) as shallow:
        rng = np.random.default_rng(0)
        feeds = {
            tensor.name: rng.standard_normal([batch, *(int(size) for size in tensor.shape[1:])], dtype=np.float32)
            for tensor in shallow.spec.inputs
        }
        whole = {tensor.name: feeds[tensor.name] for tensor in trunk.spec.inputs}
        seconds: dict[str, list[float]] = {"trunk": [], "shallow": []}
        for _ in range(rounds + 1):
            for name, engine, given in (("trunk", trunk, whole), ("shallow", shallow, feeds)):
                start = time.perf_counter()
                engine.run(given)
                seconds[name].append(time.perf_counter() - start)
    kept = {name: times[1:] for name, times in seconds.items()}  # the first run allocates
    for name, times in kept.items():
        print(f"{name:<8} best {min(times):.3f} s, median {statistics.median(times):.3f} s")
    return {"batch": batch, "seconds": kept}


def _cut(folder: Path, first: int, last: int) -> Pack:
    shutil.copytree(Pack.open("mini").folder, folder)
    add_shallow(folder, first=first, last=last)
    return Pack.open(folder)


@contextmanager
def _denoiser(
    variant: Variant, packs: Mapping[tuple[int, int], Pack], models: Models, backend: OnnxRuntime
) -> Iterator[tuple[Denoiser, Counted, Counted]]:
    """The denoiser of a variant, with its two engines, which count."""
    pack = packs[variant.cut or CUTS[0]]
    info = pack.manifest.denoiser
    assert isinstance(info, DenoiserInfo), "the mini pack has a DiT"
    with ExitStack() as stack:
        engines = [stack.enter_context(compile(pack.graph(role), backend)) for role in ROLES]
        foretold = variant.cache is not None and variant.cut is None
        trunk = PredictionAsMiddle(engines[1]) if foretold else Counted(engines[1])
        shallow = MiddleAsPrediction(engines[2]) if foretold else Counted(engines[2])
        cache = variant.cache or StepCache(every=1)
        denoiser: Denoiser = CachedDitDenoiser(
            info, Counted(engines[0]), trunk, shallow, cache=cache, bucket=models.bucket
        )
        yield _Unwalked(denoiser) if variant.cache is None else denoiser, trunk, shallow


@dataclass(frozen=True)
class _Unwalked:
    """A denoiser that is not told of walks, and so never takes a short cut."""

    denoiser: Denoiser

    def __call__(self, *asked: Array) -> Latents:
        return self.denoiser(*asked)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
