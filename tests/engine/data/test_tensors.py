"""Files of tensors, written by torch and safetensors themselves, and read without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from limbeck.data.normalization import NORMALIZATIONS
from limbeck.data.source import open_source
from limbeck.data.tensors import TensorImages
from limbeck.errors import DataError, UnreadableImagesError

IMAGES = np.random.default_rng(0).random((6, 3, 8, 8)).astype(np.float32)
LABELS = np.array([2, 0, 1, 0, 2, 1])


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def pixels(source, class_id, size=8):
    return np.concatenate(list(source.images(class_id, size=size, fit="crop", batch=4)))


def assert_holds_the_images(source):
    assert [len(source.names(class_id)) for class_id in range(3)] == [2, 2, 2]
    for class_id in range(3):
        np.testing.assert_allclose(pixels(source, class_id), IMAGES[class_id == LABELS], atol=0.51 / 255)


@pytest.mark.torch
@pytest.mark.parametrize(
    "layout",
    [
        lambda images, labels: (images, labels),
        lambda images, labels: [images, labels],
        lambda images, labels: {"images": images, "labels": labels},
        lambda images, labels: {"data": [[images, labels]]},
        lambda images, labels: {"data": [[images, labels]], "res": 8, "accs_all_exps": {"ConvNet": [np.float64(0.5)]}},
        lambda images, labels: {"images": images, "labels": labels.tolist()},
        lambda images, labels: {"images": images, "labels": labels[:, None]},
    ],
    ids=["pair", "list", "lgm", "dc", "dc with accuracies", "labels as numbers", "labels in a column"],
)
def test_classic_layouts_are_read(torch, tmp_path, layout):
    torch.save(layout(torch.from_numpy(IMAGES), torch.from_numpy(LABELS)), tmp_path / "set.pt")
    assert_holds_the_images(open_source(tmp_path / "set.pt"))


@pytest.mark.torch
def test_parameters_other_layouts_in_memory_and_views_are_read(torch, tmp_path):
    images = torch.from_numpy(IMAGES)
    kinds = {
        "parameter": torch.nn.Parameter(images),
        "channels last": images.to(memory_format=torch.channels_last),
        "view": torch.cat([torch.zeros(2, 3, 8, 8), images])[2:],
        "every other": images.repeat_interleave(2, dim=0)[::2],
        "double": images.double(),
    }
    for name, tensor in kinds.items():
        torch.save((tensor, torch.from_numpy(LABELS)), tmp_path / f"{name}.pt")
        assert_holds_the_images(open_source(tmp_path / f"{name}.pt"))


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precisions_are_read(torch, tmp_path, dtype):
    images = torch.from_numpy(IMAGES).to(getattr(torch, dtype))
    torch.save((images, torch.from_numpy(LABELS)), tmp_path / "set.pt")
    expected = images.float().numpy()[LABELS == 1]
    np.testing.assert_allclose(pixels(open_source(tmp_path / "set.pt"), 1), expected, atol=0.51 / 255)


@pytest.mark.torch
def test_one_of_several_runs_is_chosen_by_its_number(torch, tmp_path):
    runs = [[torch.from_numpy(IMAGES) * scale, torch.from_numpy(LABELS)] for scale in (0.5, 1.0)]
    torch.save({"data": runs}, tmp_path / "dc.pt")
    with pytest.raises(DataError, match=r"has 2 pairs of images and labels; give one of .*dc.pt:0 to .*dc.pt:1"):
        open_source(tmp_path / "dc.pt")
    assert_holds_the_images(open_source(f"{tmp_path}/dc.pt:1"))


@pytest.mark.torch
def test_reading_a_file_of_torch_imports_no_torch(torch, tmp_path):
    torch.save((torch.from_numpy(IMAGES), torch.from_numpy(LABELS)), tmp_path / "set.pt")
    program = (
        "import sys; from limbeck.data.source import open_source; "
        f"source = open_source({str(tmp_path / 'set.pt')!r}); "
        "list(source.images(0, size=8, fit='crop', batch=2)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("written_by", ["safetensors", "metadata"])
def test_safetensors_are_read(tmp_path, written_by):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    metadata = {"class_names": '["a", "b", "c"]'} if written_by == "metadata" else None
    save_file({"images": IMAGES, "labels": LABELS}, tmp_path / "set.safetensors", metadata=metadata)
    source = open_source(tmp_path / "set.safetensors")
    assert source.class_names == (("a", "b", "c") if metadata else ("0", "1", "2"))
    assert_holds_the_images(source)


def test_a_damaged_safetensors_file_is_refused(tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "set.safetensors").write_bytes(b"\xff" * 32)
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        open_source(tmp_path / "set.safetensors")


@pytest.fixture
def saved(torch, tmp_path):
    def save(images, labels=LABELS, **entries) -> Path:
        content = {"images": torch.from_numpy(images), "labels": torch.from_numpy(labels), **entries}
        torch.save(content, tmp_path / "set.pt")
        return tmp_path / "set.pt"

    return save


MEAN, STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)[:, :, None, None]


@pytest.mark.torch
@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize("size", [4, 8, 24])
def test_normalized_pixels_are_brought_back_and_made_square_as_pictures_are(saved, size, fit):
    ramp = 0.1 + 0.8 * np.broadcast_to(np.linspace(0, 1, 12, dtype=np.float32), (6, 3, 8, 12))
    expected = next(open_source(saved(ramp.copy())).images(0, size=size, fit=fit, batch=1))
    source = open_source(saved((ramp - MEAN) / STD), normalization=NORMALIZATIONS["imagenet"])
    np.testing.assert_allclose(next(source.images(0, size=size, fit=fit, batch=1)), expected, atol=1.6 / 255)


@pytest.mark.torch
def test_pixels_that_left_the_range_while_they_were_optimized_are_cut(saved):
    source = open_source(saved((3 * IMAGES - 1 - MEAN) / STD), normalization=NORMALIZATIONS["imagenet"])
    np.testing.assert_allclose(pixels(source, 0), np.clip(3 * IMAGES - 1, 0, 1)[LABELS == 0], atol=1e-5)


@pytest.mark.torch
def test_raw_values_count_as_pixels_between_minus_one_and_one_and_are_not_cut(saved):
    stored = (IMAGES - MEAN) / STD
    source = open_source(saved(stored), normalization=NORMALIZATIONS["raw"])
    np.testing.assert_allclose(pixels(source, 0), (stored[LABELS == 0] + 1) / 2, atol=1e-5)


@pytest.mark.torch
def test_the_manifest_says_which_normalization_was_undone(saved):
    file = saved((IMAGES - MEAN) / STD)
    described = [open_source(file, normalization=NORMALIZATIONS[name]).describe() for name in ("imagenet", "raw")]
    assert described[0] != described[1]
    assert described[0]["content_sha256"] == described[1]["content_sha256"]


@pytest.mark.torch
def test_normalized_pixels_without_a_normalization_say_what_to_do(saved):
    with pytest.raises(UnreadableImagesError, match=r"floats must lie in \[0, 1\]. If they are normalized, say how"):
        pixels(open_source(saved((IMAGES - MEAN) / STD)), 0)


@pytest.mark.torch
def test_gray_and_byte_images_are_read(saved):
    gray = open_source(saved(IMAGES[:, :1]))
    assert np.array_equal(pixels(gray, 0)[:, 0], pixels(gray, 0)[:, 2])
    assert_holds_the_images(open_source(saved(np.rint(IMAGES * 255).astype(np.uint8))))


@pytest.mark.torch
def test_class_names_come_from_the_caller_else_the_file_else_the_labels(saved):
    file = saved(IMAGES, class_names=["a", "b", "c"])
    assert open_source(file, class_names=["x", "y", "z"]).class_names == ("x", "y", "z")
    assert open_source(file).class_names == ("a", "b", "c")
    assert open_source(saved(IMAGES)).class_names == ("0", "1", "2")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (LABELS[:5], None, r"6 images, and labels of shape \(5,\)"),
        (np.eye(3, dtype=np.float32)[LABELS], None, "soft labels cannot be read, store the class ids"),
        (LABELS.astype(np.float32), None, "labels must be integers from 0, one an image; they are float32"),
        (LABELS, ["a", "b"], "the labels go up to 2, and there are 2 class names"),
        (LABELS, ["a", "b", "c", "d"], r"class 'd' \(label 3\) of set.pt has no image"),
        (LABELS + 1, None, r"class '0' \(label 0\) of set.pt has no image"),
    ],
)
def test_labels_that_do_not_fit_are_refused(saved, labels, names, message):
    with pytest.raises(DataError, match=message):
        open_source(saved(IMAGES, labels), class_names=names)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": 1}, "it holds a dict with weights"),
        (1, "it holds int"),
        ((1, 2), "no images and labels"),
    ],
)
def test_another_content_says_which_layouts_work(torch, tmp_path, content, message):
    torch.save(content, tmp_path / "set.pt")
    with pytest.raises(DataError, match=rf"(?s){message}.*layouts that work"):
        open_source(tmp_path / "set.pt")


@pytest.mark.torch
def test_images_of_another_shape_are_refused(saved):
    with pytest.raises(DataError, match=r"the images have shape \(6, 5, 8, 8\)"):
        open_source(saved(np.zeros((6, 5, 8, 8), np.float32)))


@pytest.mark.parametrize("options", [{"class_names": ["a"]}, {"normalization": NORMALIZATIONS["imagenet"]}])
def test_options_of_tensors_are_refused_for_pictures(image_folder, options):
    with pytest.raises(DataError, match="leave"):
        open_source(image_folder(["a/1.png"]), **options)


@pytest.mark.torch
def test_every_image_has_a_stable_name(saved):
    source = open_source(saved(IMAGES))
    assert isinstance(source, TensorImages)
    assert source.names(2) == ("set.pt#0", "set.pt#4")
