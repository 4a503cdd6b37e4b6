"""Specs of requests: read, checked by the server's rules, and what they name looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import Message

from limbeck_server.services.access import visible_dataset, visible_set
from limbeck_server.spec import Rules, SpecError, parse
from limbeck_server.store.base import Store
from limbeck_server.store.errors import NotFoundError
from limbeck_server.store.records import DatasetState
from limbeck_server.trust.identity import Identity
from limbeck_server.wire.names import dataset_id, is_set_name, set_id
from limbeck_server.wire.refusal import Refusal, RefusedError, RequestError, Violation
from limbeck_server.wire.specs import spec_json


def asked_spec(request: Message, rules: Rules) -> tuple[str, dict[str, Any]]:
    """The kind of job that a request asks for, and its spec with every default.

    Args:
        request: A message whose field "distill" or "evaluate" is set.
        rules: What the server lets a job do.

    Raises:
        RequestError: Every field that is wrong, or no spec.
    """
    kind = next((field.name for field, _ in request.ListFields() if field.name in ("distill", "evaluate")), None)
    if kind is None:
        raise RequestError(Violation("distill", "nothing is asked; say what to distill or to evaluate"))
    data = spec_json(getattr(request, kind), kind)
    try:
        spec = parse(kind, data)
        rules.check(spec)
    except SpecError as error:
        raise RequestError(*(Violation(f"{kind}.{field}", text) for field, text in error.violations)) from error
    return kind, spec.model_dump(mode="json")


def refuse_unready(store: Store, kind: str, spec: Mapping[str, Any], caller: Identity) -> None:
    """Refuse a spec that names datasets or sets which its caller does not have, or not yet.

    Raises:
        RequestError: One is not there.
        RefusedError: A dataset is not whole yet, or cannot be used.
    """
    violations = []
    for field, name in _references(kind, spec):
        try:
            if is_set_name(name):
                visible_set(store, set_id(name, field), caller)
            else:
                dataset = visible_dataset(store, dataset_id(name, field), caller)
                if dataset.state is not DatasetState.READY:
                    raise _unready(field, name, dataset.state)
        except NotFoundError as error:
            violations.append(Violation(field, str(error)))
    if violations:
        raise RequestError(*violations)


def _references(kind: str, spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [(f"{kind}.{name}", spec.get(name)) for name in ("dataset", "train_dataset", "test_dataset")]
    sets = enumerate(spec.get("distilled_sets", ()))
    found += [(f"{kind}.distilled_sets.{number}", name) for number, name in sets]
    return [(field, name) for field, name in found if name]


def _unready(field: str, name: str, state: DatasetState) -> RefusedError:
    return RefusedError(
        Refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            "DATASET_NOT_READY",
            f"{field}: {name} is {state.value}; a job can read it when it is ready",
            metadata={"dataset": name, "state": state.value},
        )
    )
