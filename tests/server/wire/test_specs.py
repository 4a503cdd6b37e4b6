"""Specs through the wire: what a client says is what the ledger keeps, and what a client reads again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.rpc import specs_pb2
from limbeck_server.spec import KINDS, parse
from limbeck_server.wire.refusal import RequestError
from limbeck_server.wire.specs import spec_json, spec_message

ID = "0123456789abcdef0123456789abcdef"
MESSAGES = {"distill": specs_pb2.DistillSpec, "evaluate": specs_pb2.EvaluateSpec}
NAMES = {"distill": ("dataset",), "evaluate": ("test_dataset",)}


def least(kind):
    sets = {"distilled_sets": [f"distilledSets/{ID}"]} if kind == "evaluate" else {}
    return MESSAGES[kind](**sets, **{NAMES[kind][0]: f"datasets/{ID}"})


@pytest.mark.parametrize("kind", ["distill", "evaluate"])
def test_the_wire_has_every_field_of_a_spec_and_no_other(kind):
    assert {field.name for field in MESSAGES[kind].DESCRIPTOR.fields} == set(KINDS[kind].model_fields)


@pytest.mark.parametrize("kind", ["distill", "evaluate"])
def test_fields_that_are_not_set_are_the_servers_defaults(kind):
    assert set(spec_json(least(kind), kind)) == {field.name for field, _ in least(kind).ListFields()}


@pytest.mark.parametrize("kind", ["distill", "evaluate"])
def test_a_spec_with_its_defaults_can_be_asked_again(kind):
    stored = parse(kind, spec_json(least(kind), kind)).model_dump(mode="json")
    again = parse(kind, spec_json(spec_message(kind, stored), kind)).model_dump(mode="json")
    assert again == stored


def test_a_spec_with_all_fields_comes_back_as_it_was():
    message = specs_pb2.DistillSpec(
        method="d4m",
        preset="faithful",
        ipc=2,
        seed=2**62 + 1,
        pack="packs/mini",
        dataset=f"datasets/{ID}",
        budget_nbytes=2**40,
        bucket=8,
        backend="onnxruntime",
        role_backends=[specs_pb2.RoleBackend(role="decoder", backend="openvino")],
        step_cache="every=2",
        skip_unreadable=True,
        reading=specs_pb2.Reading(image_column="image", class_names=["a", "b"], split="train"),
    )
    message.settings.update({"num_steps": 4, "strength": 0.5, "words": ["a"]})
    message.role_backends[0].settings.update({"precision": "bfloat16"})
    assert spec_message("distill", spec_json(message, "distill")) == message


@given(st.integers(-(2**63), 2**63 - 1))
def test_seeds_keep_every_digit(seed):
    message = specs_pb2.DistillSpec(seed=seed)
    assert spec_message("distill", spec_json(message, "distill")).seed == seed


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (specs_pb2.DistillSpec(dataset="x"), "distill.dataset"),
        (specs_pb2.DistillSpec(pack="mini"), "distill.pack"),
        (specs_pb2.EvaluateSpec(distilled_sets=[f"distilledSets/{ID}", "x"]), "distill.distilled_sets.1"),
        (specs_pb2.EvaluateSpec(heir_pack="packs/.."), "distill.heir_pack"),
    ],
)
def test_a_name_that_is_none_is_refused_by_its_path(message, field):
    with pytest.raises(RequestError) as raised:
        spec_json(message, "distill")
    assert raised.value.violations[0].field == field
