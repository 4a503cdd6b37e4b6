"""The contract is worth what it catches: a method that breaks one rule fails the check that is about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from limbeck.data.base import ImageSource
from limbeck.errors import EngineError
from limbeck.methods.base import NO_STATES, Checkpoint, DistilledImages, Event, Progress, State, Unit
from limbeck.methods.herding import Herding
from limbeck.methods.random_real import RandomReal
from limbeck.models import Models
from limbeck.testing import contract
from limbeck.testing.contract import CHECKS, Check, Subject


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_method_that_keeps_it_passes(check: Check) -> None:
    check(Subject(RandomReal))


Change = Callable[[Event], Sequence[Event]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changed(RandomReal):
    """Random images whose events are changed on their way."""

    change: ClassVar[Change] = lambda event: [event]

    def distill(
        self, units: Sequence[Unit], source: ImageSource, models: Models, *, resume: Mapping[int, State] = NO_STATES
    ) -> Iterator[Event]:
        for event in super().distill(units, source, models, resume=resume):
            yield from type(self).change(event)


def changed(change: Change) -> type[RandomReal]:
    return type("Broken", (Changed,), {"change": staticmethod(change)})


def images_changed(**how: Callable[[DistilledImages], Any]) -> type[RandomReal]:
    """Random images with other fields of `DistilledImages`."""

    def change(event: Event) -> Sequence[Event]:
        if not isinstance(event, DistilledImages):
            return [event]
        return [dataclasses.replace(event, **{name: value(event) for name, value in how.items()})]

    return changed(change)


class UsesWhatItDidNotName(Herding):
    needs = frozenset()


class DependsOnWhatRanBefore(RandomReal):
    count: ClassVar[list[int]] = []

    def distill(self, units: Sequence[Unit], *rest: Any, **more: Any) -> Iterator[Event]:
        for event in super().distill(units, *rest, **more):
            if isinstance(event, DistilledImages):
                self.count.append(1)
                event = dataclasses.replace(event, images=event.images * np.float32(1 / (1 + len(self.count))))
            yield event


class DependsOnItsPlaceInTheBatch(RandomReal):
    def distill(self, units: Sequence[Unit], *rest: Any, **more: Any) -> Iterator[Event]:
        place = 0
        for event in super().distill(units, *rest, **more):
            if isinstance(event, DistilledImages):
                event = dataclasses.replace(event, images=event.images * np.float32(1 / (1 + place)))
                place += 1
            yield event


class DependsOnTheBucket(RandomReal):
    def distill(self, units: Sequence[Unit], source: ImageSource, models: Models, **more: Any) -> Iterator[Event]:
        for event in super().distill(units, source, models, **more):
            if isinstance(event, DistilledImages):
                event = dataclasses.replace(event, images=event.images / np.float32(models.bucket))
            yield event


class ForgetsItsCheckpoint(RandomReal):
    def distill(
        self,
        units: Sequence[Unit],
        source: ImageSource,
        models: Models,
        *,
        resume: Mapping[int, State] = NO_STATES,
    ) -> Iterator[Event]:
        for event in super().distill(units, source, models):
            if isinstance(event, DistilledImages) and resume:
                event = dataclasses.replace(event, images=event.images / 2)
            elif isinstance(event, DistilledImages):
                yield Checkpoint(event.unit, {"step": np.array(1)})
            yield event


class HoldsAllImages(RandomReal):
    def distill(self, units: Sequence[Unit], source: ImageSource, models: Models, **more: Any) -> Iterator[Event]:
        held = [image.copy() for unit in units for image in source.images(unit.index, size=16, fit="crop", batch=1)]
        yield from super().distill(units, source, models, **more)
        del held


class EncodesWithoutAnEvent(RandomReal):
    needs = frozenset({"codec"})

    def distill(self, units: Sequence[Unit], source: ImageSource, models: Models, **more: Any) -> Iterator[Event]:
        for images in source.images(0, size=16, fit="crop", batch=1):
            models.codec.encode(images)
        yield from super().distill(units, source, models, **more)


class IsNotChecked(RandomReal):
    def check(self, source: ImageSource, models: Models) -> None:
        pass


class CallsANetworkWhenItIsStopped(RandomReal):
    needs = frozenset({"codec"})

    def distill(self, units: Sequence[Unit], source: ImageSource, models: Models, **more: Any) -> Iterator[Event]:
        try:
            yield from super().distill(units, source, models, **more)
        finally:
            models.codec.encode(np.zeros((1, 3, 16, 16), np.float32))


class HoldsTheModels(RandomReal):
    held: ClassVar[list[Models]] = []

    def distill(self, units: Sequence[Unit], source: ImageSource, models: Models, **more: Any) -> Iterator[Event]:
        self.held.append(models)
        yield from super().distill(units, source, models, **more)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HasASettingThatIsNoJson(RandomReal):
    shape: frozenset[int] = frozenset()


BROKEN: Sequence[tuple[type[RandomReal], Check, str]] = [
    (changed(lambda event: [event, event]), contract.every_unit_is_made_once_in_order, "made units"),
    (images_changed(images=lambda e: e.images * 2), contract.every_unit_is_made_once_in_order, "pixels lie in"),
    (images_changed(images=lambda e: e.images[:2]), contract.every_unit_is_made_once_in_order, "shape"),
    (images_changed(class_ids=lambda e: (0, 0, 0)), contract.every_unit_is_made_once_in_order, "labels"),
    (images_changed(rows=lambda e: ()), contract.every_image_says_where_it_comes_from, "0 rows of 3 images"),
    (images_changed(rows=lambda e: ({},) * 3), contract.every_image_says_where_it_comes_from, "seed and index"),
    (
        images_changed(rows=lambda e: [{**row, "path": object()} for row in e.rows]),
        contract.every_image_says_where_it_comes_from,
        "neither a JSON value",
    ),
    (HasASettingThatIsNoJson, contract.its_settings_can_be_written_down_and_read_back, "JSON"),
    (
        changed(lambda e: [e, Progress("back", 2, 3), Progress("back", 1, 3)]),
        contract.progress_counts_up_to_its_total,
        "after 2 came",
    ),
    (DependsOnWhatRanBefore, contract.a_run_repeats_bit_for_bit, "a second run"),
    (images_changed(images=lambda e: e.images * 0), contract.the_seed_decides, "another seed gave the same"),
    (DependsOnItsPlaceInTheBatch, contract.a_unit_does_not_depend_on_those_before_it, "unit 1 alone"),
    (DependsOnItsPlaceInTheBatch, contract.a_class_does_not_depend_on_the_others, "a class alone"),
    (DependsOnTheBucket, contract.the_bucket_changes_rounding_only, "in another bucket"),
    (IsNotChecked, contract.a_class_that_is_too_small_is_named_or_made, "made 2 images"),
    (ForgetsItsCheckpoint, contract.a_checkpoint_continues_bit_for_bit, "from a checkpoint"),
    (CallsANetworkWhenItIsStopped, contract.it_can_be_stopped_between_any_two_events, "it called a network"),
    (HoldsTheModels, contract.it_can_be_stopped_between_any_two_events, "something holds the models"),
    (EncodesWithoutAnEvent, contract.an_event_follows_every_step, "9 network calls before Progress"),
    (HoldsAllImages, contract.memory_stays_within_what_it_foretold, "with a larger source it held"),
]


@pytest.mark.parametrize(("kind", "check", "message"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_method_that_breaks_a_rule_is_caught_by_the_check_of_it(
    kind: type[RandomReal], check: Check, message: str
) -> None:
    with pytest.raises((AssertionError, TypeError), match=message):
        check(Subject(kind))


def test_a_network_that_a_method_does_not_name_is_absent() -> None:
    with pytest.raises(EngineError, match="the backbone was not opened"):
        contract.a_run_repeats_bit_for_bit(Subject(UsesWhatItDidNotName, seeded=False))
