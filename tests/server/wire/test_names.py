"""Resource names: built, read again, and refused by field where they are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.wire import names
from limbeck_server.wire.refusal import RequestError

ID = "0123456789abcdef0123456789abcdef"
KINDS = [(names.job_name, names.job_id), (names.dataset_name, names.dataset_id), (names.set_name, names.set_id)]
READERS = [names.job_id, names.dataset_id, names.set_id, names.pack_id, names.engine_id]


@pytest.mark.parametrize(("name", "read"), KINDS)
def test_a_name_reads_back_as_its_id(name, read):
    assert read(name(ID)) == ID


@pytest.mark.parametrize("pack", ["mini", "mini-text", "dit_xl.int8", "A1"])
def test_names_of_packs_and_engines_read_back(pack):
    assert names.pack_id(names.pack_name(pack)) == pack
    assert names.engine_id(names.engine_name(pack, "text_encoder")) == (pack, "text_encoder")


@pytest.mark.parametrize(
    "wrong",
    ["", ID, f"jobs/{ID}/", f"jobs/{ID[:-1]}", f"jobs/{ID.upper()}", f"Jobs/{ID}", f"jobs/{ID}\n", f"jobs//{ID}"],
)
def test_what_is_no_name_of_a_job_is_refused_with_what_would_be(wrong):
    with pytest.raises(RequestError, match=r"jobs/\{32 hexadecimal digits\}") as raised:
        names.job_id(wrong, "parent")
    assert raised.value.violations[0].field == "parent"


@pytest.mark.parametrize("wrong", ["packs/..", "packs/.hidden", "packs/a/b", "packs/", "packs/a\\b", "packs/ä"])
def test_a_pack_is_never_a_path(wrong):
    with pytest.raises(RequestError):
        names.pack_id(wrong)


@pytest.mark.parametrize("read", READERS)
@given(text=st.text(max_size=60).filter(lambda text: "/" not in text))
def test_text_that_is_no_name_is_refused_by_field(read, text):
    with pytest.raises(RequestError) as raised:
        read(text)
    assert raised.value.violations[0].field == "name"
