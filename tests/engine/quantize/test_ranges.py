"""Ranges are what NumPy finds in the same values, and clipping is where the error is least."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import ConfigError
from support.graphs import tensor, write_graph

pytestmark = pytest.mark.torch
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx_ir")

from limbeck.quantize.ranges import Range, RangeSettings, clipped, gather_ranges  # noqa: E402


@pytest.fixture
def doubled(tmp_path):
    """y = 2 x + 1, with 2 x as a value inside."""
    make = onnx.helper.make_node
    return write_graph(
        tmp_path / "doubled.onnx",
        [make("Add", ["x", "x"], ["twice"]), make("Add", ["twice", "one"], ["y"])],
        [tensor("x", "batch", 50)],
        [tensor("y", "batch", 50)],
        {"one": np.float32([1])},
    ).path


@pytest.fixture
def feeds(rng):
    return [{"x": rng.standard_normal((batch, 50), dtype=np.float32)} for batch in (2, 7, 1)]


def values(feeds):
    return 2 * np.concatenate([each["x"].ravel() for each in feeds])


def test_minmax_is_the_extremes_over_all_feeds(doubled, feeds):
    found = gather_ranges(doubled, ["twice"], feeds)["twice"]
    assert (found.low, found.high) == (values(feeds).min(), values(feeds).max())


def test_zero_is_in_every_range(doubled):
    assert gather_ranges(doubled, ["y"], [{"x": np.full((1, 50), 3, np.float32)}])["y"] == Range(0.0, 7.0)


def test_an_input_of_the_graph_has_a_range_too(doubled, feeds):
    assert gather_ranges(doubled, ["x"], feeds)["x"].high == values(feeds).max() / 2


def test_percentile_is_numpys_within_a_bin(doubled, rng):
    feeds = [{"x": rng.standard_normal((2000, 50), dtype=np.float32)}]
    settings = RangeSettings(method="percentile", percentile=98)
    found = gather_ranges(doubled, ["twice"], feeds, settings)["twice"]
    bin_width = np.ptp(values(feeds)) / settings.num_bins
    expected = np.percentile(values(feeds), [1, 99])
    np.testing.assert_allclose([found.low, found.high], expected, atol=2 * bin_width)


def test_ranges_do_not_depend_on_the_memory_allowed(doubled, feeds):
    small = RangeSettings(method="mse", memory_nbytes=1)
    large = RangeSettings(method="mse")
    assert gather_ranges(doubled, ["twice", "y"], feeds, small) == gather_ranges(doubled, ["twice", "y"], feeds, large)


def test_mse_keeps_everything_of_a_uniform_distribution():
    counts = np.full(2048, 10)
    assert clipped(counts, Range(-1.0, 1.0), RangeSettings(method="mse")).high == pytest.approx(1, abs=0.011)


def test_mse_clips_a_normal_distribution_with_an_outlier_where_theory_says():
    """Of a normal distribution in 256 steps least error is at about 3.9 deviations (Banner et al. 2019, table 1)."""
    edges = np.linspace(-40, 40, 2**14 + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    counts = np.round(1e7 * np.exp(-(middles**2) / 2) * (edges[1] - edges[0])).astype(np.int64)
    counts[-1] = 1
    assert clipped(counts, Range(-40.0, 40.0), RangeSettings(method="mse")).high == pytest.approx(3.9, abs=0.5)


def test_a_value_that_does_not_exist_is_named(doubled, feeds):
    with pytest.raises(ConfigError, match="has no value nowhere; it has 3, such as x, twice, y"):
        gather_ranges(doubled, ["nowhere"], feeds)


def test_an_infinite_value_is_named(doubled):
    with pytest.raises(ConfigError, match="the calibration feeds make twice infinite"):
        gather_ranges(doubled, ["twice"], [{"x": np.full((1, 50), np.inf, np.float32)}])


def test_no_feeds_are_refused(doubled):
    with pytest.raises(ConfigError, match="give at least one set of feeds"):
        gather_ranges(doubled, ["twice"], [])


@pytest.mark.parametrize("settings", [{"method": "entropy"}, {"percentile": 10}, {"num_bins": 100}])
def test_settings_that_give_no_range_are_refused(settings):
    with pytest.raises(ConfigError):
        RangeSettings(**settings)
