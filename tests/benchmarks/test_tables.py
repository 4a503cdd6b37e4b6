from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.harness.tables import MARKED, PAGE, RESULTS, ceilings, table, with_tables


def entry(name: str, kind: str, seconds: list[float], **more: Any) -> dict[str, Any]:
    memory = {"peak": 3e8, "resident": 2e8, "anonymous": 1e8, "file": 5e7}
    return {
        "name": name,
        "kind": kind,
        "heat": 0,
        "ceiling": "fp32",
        "settings": {},
        "failed": None,
        "load_seconds": 1.0,
        "memory": {"whole": memory, "running": memory, "peak": 3e8},
        "cases": {"pair": {"seconds": seconds, "first_seconds": 2.0, "error": 0.01}},
        **more,
    }


def result(*entries: dict[str, Any]) -> dict[str, Any]:
    gemm = {"gemm": {"seconds": [0.1, 0.2], "first_seconds": 1.0, "error": None}}
    return {
        "claim": "dit",
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {
            "processor": "P",
            "family": "6",
            "model": "1",
            "instructions": ["avx2"],
            "cores": 2,
            "memory_gib": 8.0,
        },
        "revision": {"commit": "0123456789", "changed": False},
        "settings": {"threads": 2, "gemm_side": 2048},
        "cases": [
            {"name": "pair", "rounds": 3, "flops": 100e9},
            {"name": "gemm", "rounds": 3, "flops": 20e9},
        ],
        "entries": [*entries, entry("library fp32", "ceiling", [], cases=gemm)],
    }


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith((f"| {name} |", f"| **{name}** |")))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_ceiling_of_a_precision_is_that_of_the_fastest_library_by_its_best_run() -> None:
    slower = entry("slower fp32", "ceiling", [], cases={"gemm": {"seconds": [0.4], "first_seconds": 1, "error": None}})
    assert ceilings(result(slower)) == {"fp32": 200.0}


def test_a_ratio_is_to_the_reference_of_the_same_heat() -> None:
    text = table(
        result(
            entry("base", "reference", [4.0, 4.0]),
            entry("base", "reference", [6.0, 8.0], heat=1),
            entry("ours", "limbeck", [2.0, 2.0], heat=1),
        )
    )
    assert row(text, "ours")[4] == "3.50 / 3.00"


def test_the_reference_stands_once_though_it_runs_in_every_heat() -> None:
    text = table(result(entry("base", "reference", [4.0]), entry("base", "reference", [6.0], heat=1)))
    assert text.count("| base |") == 1


def test_the_share_of_the_ceiling_is_of_the_best_run() -> None:
    text = table(result(entry("base", "reference", [2.0, 1.0])))
    assert row(text, "base")[5] == "50 % of fp32"


def test_who_failed_stands_below_the_table_with_the_reason() -> None:
    failed = entry("peer", "peer", [], failed="ImportError: no such package", cases={})
    text = table(result(entry("base", "reference", [1.0]), failed))
    assert "- peer: not measured: ImportError: no such package" in text


def test_rows_go_from_the_slowest_to_the_fastest() -> None:
    text = table(
        result(entry("base", "reference", [1.0]), entry("slow", "peer", [2.0]), entry("ours", "limbeck", [0.5]))
    )
    assert text.index("slow") < text.index("base") < text.index("ours")


def test_a_block_is_replaced_by_the_table_of_the_file_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(result(entry("base", "reference", [1.0]))))
    page = "before\n<!-- table of a.json -->\nold\n<!-- end of table -->\nafter\n"
    found = with_tables(page, tmp_path)
    assert found.startswith("before\n<!-- table of a.json -->\n\nMeasured 2026-01-02")
    assert found.endswith("<!-- end of table -->\nafter\n")
    assert "old" not in found


def test_a_block_whose_file_is_not_there_says_so(tmp_path: Path) -> None:
    assert "Not measured yet." in with_tables("<!-- table of a.json -->\n<!-- end of table -->\n", tmp_path)


def test_writing_the_tables_twice_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(result(entry("base", "reference", [1.0]))))
    once = with_tables("<!-- table of a.json -->\n<!-- end of table -->\n", tmp_path)
    assert with_tables(once, tmp_path) == once


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    page = PAGE.read_text()
    assert with_tables(page) == page, "run: python -m benchmarks.harness.tables"


NAMED = {found["file"] for found in MARKED.finditer(PAGE.read_text())}


@pytest.mark.parametrize("file", sorted(name for name in NAMED if (RESULTS / name).exists()))
def test_a_result_of_the_page_says_where_and_from_what_it_comes(file: str) -> None:
    found = json.loads((RESULTS / file).read_text())
    assert found["machine"]["processor"]
    assert found["revision"]["commit"]
