import json

import pytest

from limbeck.errors import DataError, OutputError
from limbeck.text.captions import read_captions, write_captions


def written(tmp_path, *lines):
    path = tmp_path / "metadata.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(name, text, **more):
    return json.dumps({"file_name": name, "text": text, **more})


def test_captions_are_found_by_the_names_of_images(tmp_path):
    captions = read_captions(written(tmp_path, row("a/1.jpg", "a hand"), "", row("a/2.jpg", "a foot", label=3)))
    assert captions.of(["a/2.jpg", "a/1.jpg"]) == ("a foot", "a hand")


def test_images_without_a_caption_are_named(tmp_path):
    captions = read_captions(written(tmp_path, row("train/a/1.jpg", "a hand")))
    with pytest.raises(DataError) as raised:
        captions.of([f"a/{i}.jpg" for i in range(8)])
    said = str(raised.value)
    assert "metadata.jsonl has no caption for 8 of 8 images" in said
    assert "a/0.jpg" in said
    assert "… and 3 more" in said
    assert "such as 'train/a/1.jpg'" in said


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "line 2 is no JSON"),
        ("[" * 100_000, "line 2 is no JSON"),
        ("[]", "line 2 has no file_name"),
        (json.dumps({"file_name": "a/2.jpg"}), "line 2 has no text"),
        (row("a/2.jpg", "  "), "line 2 has no text, or an empty one"),
        (row("a/2.jpg", 7), "line 2 has no text"),
        (row("a/1.jpg", "a foot"), "line 2: 'a/1.jpg' has another caption further up"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, found):
    with pytest.raises(DataError, match=found):
        read_captions(written(tmp_path, row("a/1.jpg", "a hand"), line))


def test_a_caption_that_is_said_twice_is_taken_once(tmp_path):
    path = written(tmp_path, row("a/1.jpg", "a hand"), row("a/1.jpg", "a hand"))
    assert read_captions(path).texts == {"a/1.jpg": "a hand"}


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read: No such file"):
        read_captions(tmp_path / "none.jsonl")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "metadata.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        read_captions(path)


def test_what_is_written_reads_back(tmp_path):
    rows = [("a/1.jpg", "eine Hand ✋"), ("b/x\u2028y.jpg", 'a "foot"')]
    write_captions(tmp_path / "metadata.jsonl", rows)
    assert list(read_captions(tmp_path / "metadata.jsonl").texts.items()) == rows


def test_datasets_reads_what_is_written(tmp_path):
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    (tmp_path / "a").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a/1.png")
    write_captions(tmp_path / "metadata.jsonl", [("a/1.png", "a hand")])
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path), split="train", cache_dir=tmp_path / "cache")
    assert loaded[0]["text"] == "a hand"


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        write_captions(tmp_path / "none" / "metadata.jsonl", [])
