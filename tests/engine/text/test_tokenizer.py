import sys

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers")

from limbeck.errors import ConfigError, PackError  # noqa: E402
from limbeck.text.tokenizer import Tokenizer  # noqa: E402

END = 2


@pytest.fixture
def path(tmp_path):
    """A tokenizer of single words, padded and cut to 4 tokens; `END` ends a prompt and pads it."""
    vocabulary = {"[UNK]": 0, "cat": 1, "[END]": END, "the": 3}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    core.post_processor = tokenizers.processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", END)])
    core.enable_truncation(4)
    core.enable_padding(length=4, pad_id=END, pad_token="[END]")
    core.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [("the cat", [3, 1, END, END]), ("", [END] * 4), ("the the the the cat", [3, 3, 3, END]), ("dog", [0, 2, 2, 2])],
    ids=["padded", "empty", "cut, with its end", "unknown word"],
)
def test_a_prompt_becomes_as_many_tokens_as_the_encoder_takes(path, prompt, ids):
    expected = np.array([ids], np.int64)
    np.testing.assert_array_equal(Tokenizer(path, tokens=4)([prompt]), expected, strict=True)


def test_a_tokenizer_of_another_length_is_refused(path):
    with pytest.raises(PackError, match=r"makes 4 token\(s\) of an empty prompt, the text encoder takes 77"):
        Tokenizer(path, tokens=77)


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(PackError, match=r"tokenizer\.json cannot be read as a tokenizer: .*; export the pack again"):
        Tokenizer(tmp_path / "tokenizer.json", tokens=4)


def test_an_install_without_the_extra_is_told_its_name(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"needs the package tokenizers: pip install 'limbeck\[text\]'"):
        Tokenizer(path, tokens=4)
