"""What every method owes its runner, as checks that run without a network.

A method that keeps the contract may be stopped anywhere, continued after `kill -9`, split over workers and run in any
bucket; one that does not fails in ways that show in one run of a hundred. In a test of your method:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_blend_keeps_the_contract(check):
        check(Subject(partial(Blend, num_parts=2)))

No test framework is needed: a check is a function that raises `AssertionError` with what was found.
"""

from __future__ import annotations

import gc
import io
import json
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from pydantic import TypeAdapter

from limbeck.arrays import Array, Images
from limbeck.data.base import ImageSource
from limbeck.errors import LimbeckError
from limbeck.methods.base import NO_STATES, Checkpoint, DistilledImages, Event, Method, Progress, State, Unit
from limbeck.models import Models
from limbeck.testing.counting import counted
from limbeck.testing.models import closed_form_models
from limbeck.testing.sources import ArraySource, blobs

MOST_CALLS = 2
"""Network calls between two events: a step of a sampler makes one, some make two. Only between events can a run be
stopped, and at full size a call takes seconds."""

SLACK_NBYTES = 64 * 2**10
"""What a run may hold beyond its foretold memory: full batches, where a small source had none, and Python's objects."""

SEED = 5


def blobs_of_three_classes(count: int) -> ArraySource:
    """Images of 16 pixels of "class 0" to "class 2": `count`, one more, two more."""
    rng = np.random.default_rng(0)
    return ArraySource({f"class {i}": blobs(rng, center=0.3 + 0.2 * i, count=count + i) for i in range(3)})


@dataclass(frozen=True)
class Subject:
    """A method, and the world in which it is checked.

    Args:
        make: Called with `ipc` and `seed`, gives the method; choose settings with which it takes a moment.
        source: Called with a number of images, gives a source whose classes have so many or more.
        models: Called with `bucket` and the method's `needs`, gives closed forms with these parts.
        ipc: Images per class.
        seeded: Whether another seed has to give other images; otherwise it has to give the same.
        coupled: Whether a class may depend on the other classes of the source, as with a teacher that tells them apart.
        image_size: Height and width of its images, where they are not the models'.
    """

    make: Callable[..., Method]
    source: Callable[[int], ImageSource] = blobs_of_three_classes
    models: Callable[..., Models] = closed_form_models
    ipc: int = 3
    seeded: bool = True
    coupled: bool = False
    image_size: int | None = None

    def method(self, *, seed: int = SEED) -> Method:
        """The method."""
        return self.make(ipc=self.ipc, seed=seed)

    def few(self) -> ImageSource:
        """A source in which a class has a handful of images."""
        return self.source(3 * self.ipc)

    def networks(self, *, bucket: int = 4) -> Models:
        """The parts that the method needs, and no others."""
        return self.models(bucket=bucket, needs=self.method().needs)


Check: TypeAlias = Callable[[Subject], None]
Made: TypeAlias = Mapping[int, Mapping[str, Array]]


def every_unit_is_made_once_in_order(subject: Subject) -> None:
    """A unit ends in one `DistilledImages`: `ipc` images of each of its classes, float32 in [0, 1]."""
    method, source, models = subject.method(), subject.few(), subject.networks()
    units = list(method.units(source))
    _demand([unit.index for unit in units] == list(range(len(units))), "units are not counted from 0")
    classes = sorted(class_id for unit in units for class_id in unit.class_ids)
    _demand(classes == list(range(len(source.class_names))), f"units make the classes {classes}")
    made = [event for event in method.distill(units, source, models) if isinstance(event, DistilledImages)]
    _demand([event.unit for event in made] == units, f"made units {[event.unit.index for event in made]}")
    for event in made:
        labels = sorted(event.class_ids)
        _demand(labels == sorted(event.unit.class_ids * subject.ipc), f"unit {event.unit.index} has labels {labels}")
        size = subject.image_size or models.image_size
        shape = (len(labels), 3, size, size)
        _demand(event.images.shape == shape, f"images have shape {event.images.shape}, not {shape}")
        _demand(event.images.dtype == np.float32, f"images are {event.images.dtype}")
        low, high = float(event.images.min()), float(event.images.max())
        _demand(low >= 0 and high <= 1, f"pixels lie in {low}..{high}")


def every_image_says_where_it_comes_from(subject: Subject) -> None:
    """A row an image, of JSON values under the same keys, with the seed and the position in its class."""
    for event in _run(subject.method(), subject.few(), subject.networks()):
        if isinstance(event, DistilledImages):
            _demand(len(event.rows) == len(event.images), f"{len(event.rows)} rows of {len(event.images)} images")
            _demand(len({tuple(sorted(row)) for row in event.rows}) == 1, "rows differ in their keys")
            json.dumps(event.rows, default=_number, allow_nan=False)
            position: dict[int, int] = {}
            for class_id, row in zip(event.class_ids, event.rows, strict=True):
                index = position[class_id] = position.get(class_id, -1) + 1
                found = row.get("seed"), row.get("index")
                _demand(found == (SEED, index), f"image {index} of class {class_id} has seed and index {found}")


def its_settings_can_be_written_down_and_read_back(subject: Subject) -> None:
    """The fields are JSON values, and make the same method; so do those of its faithful preset."""
    kind: Any = type(subject.method())
    presets: tuple[Any, ...] = subject.method(), kind.faithful(ipc=subject.ipc, seed=SEED)
    for method in presets:
        again = TypeAdapter(kind).validate_python(json.loads(json.dumps(asdict(method), allow_nan=False)))
        _demand(again == method, f"{method} became {again}")
        _demand((method.ipc, method.seed) == (subject.ipc, SEED), f"it has ipc {method.ipc} and seed {method.seed}")


def progress_counts_up_to_its_total(subject: Subject) -> None:
    """Of each stage, what is done never falls while the total stays, and never exceeds it."""
    last: dict[tuple[str, int], int] = {}
    for event in _run(subject.method(), subject.few(), subject.networks()):
        if isinstance(event, Progress):
            before = last.get((event.stage, event.total), 0)
            _demand(before <= event.done <= event.total, f"after {before} came {event}")
            last[event.stage, event.total] = event.done
    _demand(bool(last), "there was no progress")


def a_run_repeats_bit_for_bit(subject: Subject) -> None:
    """Two runs give the same images."""
    first, second = (_made(_run(subject.method(), subject.few(), subject.networks())) for _ in range(2))
    _demand_equal(first, second, "a second run")


def the_seed_decides(subject: Subject) -> None:
    """Another seed gives other images, where anything is left to chance."""
    runs = [_made(_run(subject.method(seed=seed), subject.few(), subject.networks())) for seed in (SEED, SEED + 1)]
    same = all(np.array_equal(runs[0][unit]["images"], runs[1][unit]["images"]) for unit in runs[0])
    _demand(same != subject.seeded, f"another seed gave {'the same' if same else 'other'} images")


def a_unit_does_not_depend_on_those_before_it(subject: Subject) -> None:
    """A resumed run makes only what is missing, and a cluster deals units out."""
    method, source, models = subject.method(), subject.few(), subject.networks()
    whole = _made(_run(method, source, models))
    units = list(method.units(source))
    for unit in units:
        _demand_equal(_made(_run(method, source, models, [unit])), whole, f"unit {unit.index} alone")
    _demand_equal(_made(_run(method, source, models, units[::-1])), whole, "units in reverse")


def a_class_does_not_depend_on_the_others(subject: Subject) -> None:
    """Where a unit is one class, leaving another class out of the source changes nothing."""
    method, source, models = subject.method(), subject.few(), subject.networks()
    if subject.coupled or any(len(unit.class_ids) > 1 for unit in method.units(source)):
        return
    alone = _made(_run(method, _View(source, [1]), models))
    _demand_equal({1: alone[0]}, _made(_run(method, source, models)), "a class alone")


def the_bucket_changes_rounding_only(subject: Subject) -> None:
    """With networks that treat each sample alone, images are equal up to rounding in any bucket."""
    runs = [_made(_run(subject.method(), subject.few(), subject.networks(bucket=bucket))) for bucket in (4, 3)]
    for unit, made in runs[0].items():
        furthest = float(np.abs(made["images"] - runs[1][unit]["images"]).max())
        _demand(furthest < 1e-4, f"in another bucket pixels of unit {unit} differ by {furthest}")


def a_class_that_is_too_small_is_named_or_made(subject: Subject) -> None:
    """What cannot be made is refused by `check`, before any network runs."""
    source = subject.few()
    _demand_named_or_made(subject, _View(source, most={0: subject.ipc - 1}), source.class_names[0])


def a_class_that_the_networks_do_not_know_is_named_or_made(subject: Subject) -> None:
    """A class that the denoiser was not trained on is refused by `check`, where the method needs that it was."""
    _demand_named_or_made(subject, _View(subject.few(), renamed={1: "zebra"}), "zebra")


def a_checkpoint_continues_bit_for_bit(subject: Subject) -> None:
    """From every checkpoint, stored and read back, a run ends in the images of one that was never stopped."""
    method, source, models = subject.method(), subject.few(), subject.networks()
    stored: list[tuple[Unit, State]] = []
    undisturbed: list[Event] = []
    for event in _run(method, source, models):
        if isinstance(event, Checkpoint):
            stored.append((event.unit, _read_back(event.state)))
        else:
            undisturbed.append(event)
    whole = _made(undisturbed)
    for unit, state in stored:
        again = _made(_run(method, source, subject.networks(), [unit], {unit.index: state}))
        _demand_equal(again, whole, f"unit {unit.index} from a checkpoint")


def it_can_be_stopped_between_any_two_events(subject: Subject) -> None:
    """A generator that is closed calls no network, and leaves no thread and nothing that holds the models."""
    method, source = subject.method(), subject.few()
    undisturbed = list(_run(method, source, subject.networks()))
    num_events = len(undisturbed)
    threads = threading.active_count()
    for stop in sorted({1, num_events // 3, num_events - 1}):
        models, calls = counted(subject.networks())
        events = method.distill(method.units(source), source, models)
        for _ in range(stop):
            next(events)
        before = calls.total()
        events.close()  # type: ignore[attr-defined]
        _demand(calls.total() == before, f"closed after event {stop}, it called a network")
        _demand(threading.active_count() <= threads, f"closed after event {stop}, it left a thread")
        held = weakref.ref(models)
        del models, events
        gc.collect()
        _demand(held() is None, f"closed after event {stop}, something holds the models")
    again = _made(_run(method, source, subject.networks()))
    _demand_equal(again, _made(undisturbed), "a run after some that were stopped")


def an_event_follows_every_step(subject: Subject) -> None:
    """Between two events there are at most `MOST_CALLS` network calls, even where a plan gathers a long wave."""
    models, calls = counted(replace(subject.networks(bucket=2), codec_bucket=1, wave=100))
    before = calls.total()
    for event in _run(subject.method(), subject.few(), models):
        made = calls.total() - before
        _demand(made <= MOST_CALLS, f"{made} network calls before {event!r:.200}; so far: {dict(calls)}")
        before = calls.total()


def memory_stays_within_what_it_foretold(subject: Subject) -> None:
    """With a larger source a run holds no more than before and `work().scratch_nbytes`: it streams the images."""
    small, large = subject.few(), subject.source(60)
    subject.method().warm_up()
    before, after = _peak_nbytes(subject, small), _peak_nbytes(subject, large)
    scratch = subject.method().work(large, subject.networks()).scratch_nbytes
    _demand(
        after <= before + scratch + SLACK_NBYTES,
        f"with a larger source it held {after:,} bytes instead of {before:,}; it foretold {scratch:,} of its own",
    )


CHECKS: tuple[Check, ...] = (
    every_unit_is_made_once_in_order,
    every_image_says_where_it_comes_from,
    its_settings_can_be_written_down_and_read_back,
    progress_counts_up_to_its_total,
    a_run_repeats_bit_for_bit,
    the_seed_decides,
    a_unit_does_not_depend_on_those_before_it,
    a_class_does_not_depend_on_the_others,
    the_bucket_changes_rounding_only,
    a_class_that_is_too_small_is_named_or_made,
    a_class_that_the_networks_do_not_know_is_named_or_made,
    a_checkpoint_continues_bit_for_bit,
    it_can_be_stopped_between_any_two_events,
    an_event_follows_every_step,
    memory_stays_within_what_it_foretold,
)
"""All of the contract."""


class _View:
    """A source with some of its classes, under other names, or with fewer images."""

    def __init__(
        self,
        source: ImageSource,
        class_ids: Sequence[int] | None = None,
        *,
        renamed: Mapping[int, str] = MappingProxyType({}),
        most: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self._source = source
        self._class_ids = tuple(range(len(source.class_names)) if class_ids is None else class_ids)
        self._renamed = renamed
        self._most = most

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self._renamed.get(i, self._source.class_names[i]) for i in self._class_ids)

    def names(self, class_id: int) -> tuple[str, ...]:
        own = self._class_ids[class_id]
        return self._source.names(own)[: self._most.get(own)]

    def images(self, class_id: int, **how: Any) -> Iterator[Images]:
        left = len(self.names(class_id)) * how.get("tiles", 1) ** 2
        for images in self._source.images(self._class_ids[class_id], **how):
            if left > 0:
                yield images[:left]
            left -= len(images)

    def describe(self) -> dict[str, object]:
        return self._source.describe()


def _run(
    method: Method,
    source: ImageSource,
    models: Models,
    units: Iterable[Unit] | None = None,
    resume: Mapping[int, State] = NO_STATES,
) -> Iterator[Event]:
    method.check(source, models)
    yield from method.distill(list(units or method.units(source)), source, models, resume=resume)


def _made(events: Iterable[Event]) -> Made:
    """What each unit gave, by name: its images, and the arrays beside them."""
    return {
        event.unit.index: {"images": event.images, **event.arrays}
        for event in events
        if isinstance(event, DistilledImages)
    }


def _peak_nbytes(subject: Subject, source: ImageSource) -> int:
    """The most that Python and NumPy held at a time during a run."""
    models = subject.networks()
    tracemalloc.start()
    try:
        for _ in _run(subject.method(), source, models):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _demand_equal(found: Made, expected: Made, what: str) -> None:
    for unit, arrays in found.items():
        _demand(arrays.keys() == expected[unit].keys(), f"{what} gave {', '.join(arrays)} of unit {unit}")
        for name, array in arrays.items():
            _demand(np.array_equal(array, expected[unit][name]), f"{what} gave other {name} of unit {unit}")


def _demand_named_or_made(subject: Subject, source: ImageSource, class_name: str) -> None:
    models, calls = counted(subject.networks())
    method = subject.method()
    try:
        method.check(source, models)
    except LimbeckError as error:
        _demand(class_name in str(error), f"the refusal does not name '{class_name}': {error}")
        _demand(not calls, f"before the refusal it called {dict(calls)}")
        return
    for event in method.distill(method.units(source), source, models):
        if isinstance(event, DistilledImages):
            wanted, found = subject.ipc * len(event.unit.class_ids), len(event.images)
            _demand(found == wanted, f"it accepted the source and made {found} images, not {wanted}")


def _read_back(state: State) -> State:
    """A state as the runner stores it."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **dict(state))
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise AssertionError(f"{value!r} in a row is neither a JSON value nor a NumPy number")
