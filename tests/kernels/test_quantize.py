import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from limbeck_kernels.quantize import from_integers, largest, pack_pairs, symmetric_scales, to_integers

bits = st.sampled_from([4, 8])
reals = arrays(np.float32, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e4, 1e4, width=32))


@given(reals, bits)
def test_a_value_comes_back_within_half_a_step(values, bits):
    scales = symmetric_scales(values, axis=0, bits=bits)
    error = np.abs(from_integers(to_integers(values, scales, bits), scales) - values)
    assert (error <= scales * 0.5 * (1 + 1e-5) + 1e-30).all()


@given(reals, bits)
def test_the_opposite_of_a_value_is_the_opposite_integer(values, bits):
    scales = symmetric_scales(values, axis=0, bits=bits)
    np.testing.assert_array_equal(symmetric_scales(-values, axis=0, bits=bits), scales)
    np.testing.assert_array_equal(to_integers(-values, scales, bits), -to_integers(values, scales, bits))


@given(reals, bits)
def test_no_integer_is_larger_than_the_bits_allow(values, bits):
    integers = to_integers(values, symmetric_scales(values, axis=1, bits=bits), bits)
    assert np.abs(integers.astype(int)).max() <= largest(bits)


@given(arrays(np.int8, (5, 3), elements=st.integers(-7, 7)), bits, st.sampled_from([0.25, 1.0, 8.0]))
def test_values_on_the_grid_come_back_exactly(integers, bits, step):
    integers[0] = largest(bits)
    values = integers.astype(np.float32) * np.float32(step)
    scales = symmetric_scales(values, axis=0, bits=bits)
    np.testing.assert_array_equal(to_integers(values, scales, bits), integers)


def test_zeros_get_a_scale_that_can_divide():
    assert symmetric_scales(np.zeros((4, 1), np.float32), axis=0, bits=8) == 1


@pytest.mark.parametrize("shape", [(2,), (3, 8)])
def test_a_packed_byte_holds_the_first_number_in_its_low_half(shape):
    values = np.random.default_rng(0).integers(0, 16, shape, dtype=np.uint8)
    packed = pack_pairs(values)
    np.testing.assert_array_equal(packed % 16, values[..., 0::2])
    np.testing.assert_array_equal(packed // 16, values[..., 1::2])
