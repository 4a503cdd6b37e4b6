"""Pictures written by Pillow, whose pixels are known, come back as they look."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from limbeck.data.base import Fit
from limbeck.data.decode import decode, decode_tiles
from limbeck.errors import UnreadableImagesError

RED, WHITE = (1.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo(width: int, height: int) -> Image.Image:
    """Smooth, so that a lossy file stays close to it: red grows to the right, green downward."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([red, green, np.full_like(red, 128)], -1).astype(np.uint8))


def pixels(data: bytes, size: int = 8, fit: str = "squash") -> np.ndarray:
    return decode(data, name="it", size=size, fit=fit)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_tiles_are_the_parts_of_the_square_picture_each_resized_alone(fit: Fit) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (12, 18, 3), np.uint8)
    square = colors[:, 3:15] if fit == "crop" else colors
    width = square.shape[1] // 3
    found = decode_tiles(colors, name="it", size=8, fit=fit, tiles=3)
    expected = [
        decode(
            np.ascontiguousarray(square[4 * y : 4 * y + 4, width * x : width * (x + 1)]),
            name="it",
            size=8,
            fit="squash",
        )
        for y in range(3)
        for x in range(3)
    ]
    np.testing.assert_array_equal(np.stack(found), np.stack(expected))


def test_tiles_of_a_picture_that_has_their_size_are_its_pixels() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    whole = decode(colors, name="it", size=16, fit="crop")
    first, second, third, fourth = decode_tiles(colors, name="it", size=8, fit="crop", tiles=2)
    np.testing.assert_array_equal(np.block([[first, second], [third, fourth]]), whole)


def test_a_picture_with_fewer_pixels_than_tiles_is_refused() -> None:
    with pytest.raises(UnreadableImagesError, match="2 x 2 pixels cannot be cut into 3 x 3 tiles"):
        decode_tiles(np.zeros((2, 2, 3), np.uint8), name="it", size=8, fit="crop", tiles=3)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM"])
def test_a_lossless_file_of_the_asked_size_comes_back_exactly(kind):
    image = photo(8, 8).convert("P") if kind == "GIF" else photo(8, 8)
    expected = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 255
    np.testing.assert_array_equal(pixels(encoded(image, kind)), expected)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_lossy_file_comes_back_nearly(kind):
    expected = np.asarray(photo(64, 64), np.float32).transpose(2, 0, 1) / 255
    assert np.abs(pixels(encoded(photo(64, 64), kind, quality=95), size=64) - expected).mean() < 0.02


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_orientation_in_exif_is_applied(orientation, kind):
    # What a camera stores so that a viewer, doing what the number says (EXIF 2.32, 4.6.4 A), shows `photo`.
    stored = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    image = photo(32, 32)
    for step in stored:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(photo(32, 32), np.float32).transpose(2, 0, 1) / 255
    assert np.abs(pixels(encoded(image, kind, exif=exif), size=32) - upright).mean() < 0.03


def test_gray_has_three_equal_channels():
    got = pixels(encoded(Image.new("L", (8, 8), 51)))
    np.testing.assert_allclose(got, 0.2, atol=1e-6)


def test_sixteen_bit_gray_is_scaled_by_its_range():
    ramp = np.linspace(0, 65535, 64).reshape(8, 8)
    got = pixels(encoded(Image.fromarray(ramp.astype(np.uint16))))
    np.testing.assert_allclose(got[0], ramp / 65535, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("kind", ["TIFF", "PPM"])
def test_sixteen_bit_gray_is_scaled_in_every_format_that_has_it(kind):
    got = pixels(encoded(Image.fromarray(np.full((8, 8), 32768, np.uint16)), kind))
    np.testing.assert_allclose(got, 0.5, atol=0.5 / 255 + 1e-6)


def test_float_pixels_in_the_unit_range_are_read():
    got = pixels(encoded(Image.fromarray(np.full((8, 8), 0.25, np.float32)), "TIFF"))
    np.testing.assert_allclose(got, 0.25, atol=0.5 / 255 + 1e-6)


def test_cmyk_becomes_rgb():
    got = pixels(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"))
    np.testing.assert_allclose(got[:, 0, 0], RED, atol=0.01)


def test_a_cmyk_jpeg_becomes_rgb():
    got = pixels(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    np.testing.assert_allclose(got[:, 0, 0], RED, atol=0.02)


def palette_image(**options: object) -> bytes:
    image = Image.new("P", (8, 8))
    image.putpalette([255, 0, 0, 0, 255, 0])
    return encoded(image, "PNG", **options)


def test_a_palette_is_looked_up():
    np.testing.assert_array_equal(pixels(palette_image())[:, 0, 0], RED)


def test_a_transparent_palette_entry_is_white():
    np.testing.assert_array_equal(pixels(palette_image(transparency=0))[:, 0, 0], WHITE)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (255, 0, 0, 51), (1.0, 0.8, 0.8)),
        ("LA", (0, 51), (0.8, 0.8, 0.8)),
    ],
)
def test_transparency_lies_on_white(mode, color, expected):
    np.testing.assert_allclose(pixels(encoded(Image.new(mode, (8, 8), color)))[:, 0, 0], expected, atol=0.01)


def test_the_color_of_invisible_pixels_does_not_bleed_when_scaled():
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 32, 64))
    got = pixels(encoded(image), size=8)
    assert got[0].min() > 0.98


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels(data)[:, 0, 0], RED)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_one_pixel_fills_the_image(fit):
    np.testing.assert_array_equal(pixels(encoded(Image.new("RGB", (1, 1), "red")), fit=fit)[:, 3, 3], RED)


def test_crop_keeps_the_center():
    image = Image.new("RGB", (24, 8), "white")
    image.paste((255, 0, 0), (8, 0, 16, 8))
    np.testing.assert_array_equal(
        pixels(encoded(image), fit="crop"), np.broadcast_to(np.reshape(RED, (3, 1, 1)), (3, 8, 8))
    )


def test_squash_keeps_everything():
    image = Image.new("RGB", (24, 8), "white")
    image.paste((255, 0, 0), (0, 0, 12, 8))
    assert pixels(encoded(image), fit="squash")[1].mean() == pytest.approx(0.5, abs=0.02)


def test_scaling_down_is_antialiased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    np.testing.assert_allclose(pixels(encoded(Image.fromarray(stripes)), size=8), 0.5, atol=0.03)


def test_a_large_jpeg_decoded_small_looks_like_the_whole_one():
    data = encoded(photo(640, 480), "JPEG", quality=95)
    whole = Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.LANCZOS)
    expected = np.asarray(whole, np.float32).transpose(2, 0, 1) / 255
    assert np.abs(pixels(data, size=32) - expected).max() < 0.02


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["crop", "squash"]), st.integers(1, 20))
def test_any_shape_becomes_square_and_a_flat_color_stays(width, height, fit, size):
    got = decode(np.full((height, width, 3), 51, np.uint8), name="it", size=size, fit=fit)
    np.testing.assert_allclose(got, np.full((3, size, size), 0.2), atol=1e-6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_truncated_file_is_unreadable(kind, part):
    rng = np.random.default_rng(0)
    data = encoded(Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)), kind)
    with pytest.raises(UnreadableImagesError, match="it: "):
        pixels(data[: int(len(data) * part)])


def test_a_truncated_jpeg_is_unreadable_though_it_is_decoded_small():
    data = encoded(photo(1024, 1024), "JPEG")
    with pytest.raises(UnreadableImagesError, match="truncated"):
        pixels(data[: len(data) // 2], size=8)


def test_text_is_no_image():
    with pytest.raises(UnreadableImagesError, match="not an image of a known format"):
        pixels(b"<html>")


def test_no_bytes_are_no_image():
    with pytest.raises(UnreadableImagesError, match="it has no bytes"):
        pixels(b"")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UnreadableImagesError, match=r"lost.png: No such file"):
        decode(tmp_path / "lost.png", name="lost.png", size=8, fit="crop")


def test_an_image_above_the_pixel_limit_is_refused():
    with pytest.raises(UnreadableImagesError, match="40 x 30 pixels are more than the limit of 1000"):
        decode(encoded(photo(40, 30)), name="it", size=8, fit="crop", max_pixels=1000)


def test_a_decompression_bomb_is_refused():
    bomb = encoded(Image.new("1", (20_000, 20_000)))
    with pytest.raises(UnreadableImagesError, match="decompression bomb"):
        pixels(bomb)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_float_arrays_outside_the_unit_range_are_refused(value):
    with pytest.raises(UnreadableImagesError, match=r"floats must lie in \[0, 1\]"):
        decode(np.full((4, 4), value, np.float32), name="it", size=4, fit="crop")


def test_a_gray_array_with_a_channel_axis_is_read():
    np.testing.assert_array_equal(decode(np.full((4, 4, 1), 255, np.uint8), name="it", size=4, fit="crop"), 1)
