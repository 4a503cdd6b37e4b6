from __future__ import annotations

import pytest
from benchmarks.profile import by_kind, by_operator


def kernel(operator: str, microseconds: float, *, category: str = "Node") -> dict[str, object]:
    return {"cat": category, "name": f"{operator}_1_kernel_time", "dur": microseconds, "args": {"op_name": operator}}


def test_times_of_an_operator_are_summed_and_are_those_of_one_run() -> None:
    events = [kernel("MatMul", 3000), kernel("MatMul", 1000), kernel("Gelu", 1000)]
    assert by_operator(events, runs=2) == {"MatMul": 2.0, "Gelu": 0.5}


def test_what_is_no_kernel_is_not_counted() -> None:
    fence = {"cat": "Node", "name": "MatMul_1_fence_before", "dur": 500, "args": {"op_name": "MatMul"}}
    assert by_operator([fence, kernel("Run", 900, category="Session")], runs=1) == {}


def test_the_parts_of_a_pass_add_up_to_it() -> None:
    spent = {"MatMulIntegerToFloat": 5.0, "DynamicQuantizeMatMul": 2.0, "Add": 1.0, "Unheard": 0.5}
    found = by_kind(spent)
    assert found == {"int8 products": 7.0, "elementwise and moving data": 1.5}
    assert sum(found.values()) == pytest.approx(sum(spent.values()))
