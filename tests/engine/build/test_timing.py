from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from limbeck.backends.null import Null
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.build.timing import compare
from support.graphs import linear

pytestmark = pytest.mark.torch
pytest.importorskip("onnx", reason="needs the export extra (onnx)")


def test_each_graph_has_a_timing_and_its_own_outputs(tmp_path: Path, rng) -> None:
    known = linear(tmp_path)
    feeds = known.feeds(rng, 2)
    timings, outputs = compare([known.graph, known.graph], OnnxRuntime(), feeds, seconds=0.01)
    assert [timing.best <= timing.median for timing in timings] == [True, True]
    for found in outputs:
        np.testing.assert_allclose(found["y"], known.answer(feeds)["y"], rtol=1e-5)


def test_a_fast_graph_is_not_called_for_ever(tmp_path: Path, rng) -> None:
    known = linear(tmp_path)
    assert len(compare([known.graph], Null(), known.feeds(rng, 2), seconds=1e9)[0]) == 1
