from __future__ import annotations

import hashlib
import json

import pytest

from limbeck.errors import PackError
from limbeck.pack import MANIFEST, Pack, PackManifest, file_entry, shipped_packs, write_manifest

CONDITIONER = "transformer_conditioner/model.onnx"
TRUNK = "transformer/model.onnx"
WEIGHTS = "transformer/model.onnx.data"
SCHEDULE = "scheduler/scheduler_config.json"


def content(folder):
    """The manifest of a pack with a denoiser's graphs and schedule; files hold their own names."""
    names = (CONDITIONER, TRUNK, WEIGHTS, SCHEDULE)
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"file": name}))
    latents = {"name": "latents", "dtype": "float32", "shape": ["batch", 4, 8, 8]}
    return {
        "format": 1,
        "name": "small",
        "denoiser": {
            "kind": "dit",
            "latent_shape": [4, 8, 8],
            "classes": ["cat", "dog"],
            "null_class": 2,
            "learned_sigma": False,
        },
        "graphs": {
            "conditioner": {"file": CONDITIONER, "inputs": [], "outputs": [], "opset": 23, "parity": 1e-6},
            "trunk": {
                "file": TRUNK,
                "external": [WEIGHTS],
                "inputs": [latents],
                "outputs": [latents | {"name": "prediction"}],
                "opset": 23,
                "parity": 1e-6,
            },
        },
        "files": {name: file_entry(folder / name).model_dump() for name in names},
    }


def written(folder, manifest):
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path, content(tmp_path))


def test_a_pack_opens_by_its_folder(folder):
    assert Pack.open(folder).manifest.name == "small"


def test_a_pack_opens_by_its_folder_as_text(folder):
    assert Pack.open(str(folder)).folder == folder


@pytest.mark.parametrize("name", shipped_packs())
def test_a_shipped_pack_opens_by_its_name_and_is_whole(name):
    pack = Pack.open(name)
    assert pack.verify() == len(pack.manifest.files) > 0


def test_a_written_manifest_is_read_back(folder):
    manifest = Pack.open(folder).manifest
    write_manifest(folder, manifest)
    assert Pack.open(folder).manifest == manifest


def test_a_graph_is_described_as_in_the_manifest(folder):
    graph = Pack.open(folder).graph("trunk")
    assert graph.path == folder / TRUNK
    assert [str(tensor) for tensor in graph.spec.inputs] == ["latents: float32 (batch, 4, 8, 8)"]
    assert [str(tensor) for tensor in graph.spec.outputs] == ["prediction: float32 (batch, 4, 8, 8)"]


def test_a_graph_of_one_file_has_its_digest(tmp_path):
    manifest = content(tmp_path)
    manifest["graphs"]["trunk"]["external"] = []
    graph = Pack.open(written(tmp_path, manifest)).graph("trunk")
    assert graph.digest == hashlib.sha256((tmp_path / TRUNK).read_bytes()).hexdigest()


def test_other_weights_beside_a_graph_are_another_digest(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    before = Pack.open(folder).graph("trunk").digest
    (folder / WEIGHTS).write_text("other weights")
    manifest["files"][WEIGHTS] = file_entry(folder / WEIGHTS).model_dump()
    assert Pack.open(written(folder, manifest)).graph("trunk").digest != before


def test_the_schedule_is_read(folder):
    assert Pack.open(folder).schedule_config() == {"file": SCHEDULE}


def test_a_pack_without_denoiser_has_no_schedule(tmp_path):
    pack = Pack.open(written(tmp_path, content(tmp_path) | {"denoiser": None}))
    with pytest.raises(PackError, match="pack 'small' has no denoiser, so it has no noise schedule"):
        pack.schedule_config()


def test_a_missing_pack_is_refused_with_the_shipped_ones(tmp_path):
    message = f"no pack at '.*nowhere': .*{MANIFEST} is not there\ngive a folder made by `limbeck export`, or a shipped"
    with pytest.raises(PackError, match=message):
        Pack.open(tmp_path / "nowhere")


def test_a_folder_without_manifest_is_no_pack(tmp_path):
    with pytest.raises(PackError, match=f"{MANIFEST} is not there"):
        Pack.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the whole file: Invalid JSON"),
        (b'{"format": 1, "na', "the whole file: Invalid JSON"),
        (b"\xff\xfe\x00", "the whole file: Invalid JSON"),
        (b'{"model_type": "unet"}', "name: Field required"),
        (b"[]", "the whole file: Input should be an object"),
    ],
    ids=["empty", "cut", "no text", "foreign", "list"],
)
def test_a_manifest_that_is_none_is_refused_with_its_place(tmp_path, text, message):
    (tmp_path / MANIFEST).write_bytes(text)
    with pytest.raises(PackError, match=f"{MANIFEST} cannot be read as a pack of format 1: {message}"):
        Pack.open(tmp_path)


def test_a_newer_format_is_refused_before_its_novelties(tmp_path):
    newer = content(tmp_path) | {"format": 2, "novelty": {}}
    with pytest.raises(PackError, match="cannot be read as a pack of format 1: format: Input should be 1"):
        Pack.open(written(tmp_path, newer))


def test_an_unknown_field_is_refused_by_name(tmp_path):
    manifest = content(tmp_path)
    manifest["graphs"]["trunk"]["precison"] = "fp32"
    with pytest.raises(PackError, match=r"graphs.trunk.precison: Extra inputs are not permitted"):
        Pack.open(written(tmp_path, manifest))


def test_an_unknown_role_is_refused(tmp_path):
    manifest = content(tmp_path)
    manifest["graphs"]["upscaler"] = manifest["graphs"]["trunk"]
    with pytest.raises(PackError, match=r"graphs.upscaler.*: Input should be 'conditioner'"):
        Pack.open(written(tmp_path, manifest))


def test_a_graph_that_a_pack_lacks_is_refused_with_those_it_has(folder):
    with pytest.raises(PackError, match="pack 'small' has no decoder; it has: conditioner, trunk"):
        Pack.open(folder).graph("decoder")


@pytest.mark.parametrize("name", [TRUNK, WEIGHTS])
def test_a_changed_file_is_refused_with_both_digests(folder, name):
    expected = file_entry(folder / name)
    (folder / name).write_text("changed")
    listed = f"{expected.nbytes} bytes with {expected.sha256[:16]}"
    message = rf"{name} is damaged or was changed: 7 bytes .* pack.json says {listed}"
    with pytest.raises(PackError, match=message):
        Pack.open(folder).graph("trunk")


def test_one_flipped_bit_is_found(folder):
    data = bytearray((folder / TRUNK).read_bytes())
    data[3] ^= 1
    (folder / TRUNK).write_bytes(data)
    with pytest.raises(PackError, match="is damaged or was changed"):
        Pack.open(folder).verify()


@pytest.mark.parametrize("name", [TRUNK, WEIGHTS])
def test_a_missing_file_is_refused_by_its_path(folder, name):
    (folder / name).unlink()
    with pytest.raises(PackError, match=f"pack 'small' lacks .*{name}; export it again"):
        Pack.open(folder).graph("trunk")


@pytest.mark.parametrize("name", [CONDITIONER, TRUNK, WEIGHTS, SCHEDULE])
def test_a_file_without_digest_is_refused(tmp_path, name):
    manifest = content(tmp_path)
    del manifest["files"][name]
    with pytest.raises(PackError, match=f"it uses {name} but does not list its digest in files"):
        Pack.open(written(tmp_path, manifest))


def test_a_file_that_is_asked_for_but_not_listed_is_refused(folder):
    with pytest.raises(PackError, match=r"pack 'small' uses other\.bin but does not list its digest"):
        Pack.open(folder).check_file("other.bin")


def test_a_file_that_is_reached_by_a_link_is_read(folder):
    """Hubs keep files in one place and link to them."""
    (folder / TRUNK).rename(folder / "blob")
    (folder / TRUNK).symlink_to("../blob")
    assert Pack.open(folder).verify() == 4


def of_graph(manifest, name):
    manifest["graphs"]["trunk"]["file"] = name


def of_weights(manifest, name):
    manifest["graphs"]["trunk"]["external"] = [name]


def of_schedule(manifest, name):
    manifest["denoiser"]["schedule"] = name


def of_file(manifest, name):
    manifest["files"][name] = manifest["files"][TRUNK]


@pytest.mark.parametrize("place", [of_graph, of_weights, of_schedule, of_file])
@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "transformer/../../passwd",
        "..",
        "/etc/passwd",
        "//server/share/file",
        "..\\..\\passwd",
        "C:\\passwd",
        "C:passwd",
        "",
        ".",
        "model\0.onnx",
    ],
)
def test_a_name_that_could_lead_out_of_the_pack_is_refused(tmp_path, place, name):
    manifest = content(tmp_path)
    place(manifest, name)
    with pytest.raises(
        PackError, match="does not name a file inside the pack; it must be relative, with / and without"
    ):
        Pack.open(written(tmp_path, manifest))


@pytest.mark.parametrize("name", ["model.onnx", "a/b/c.onnx", "..model/weights..bin", "vae encoder/model.onnx"])
def test_a_name_inside_the_pack_is_accepted(tmp_path, name):
    manifest = content(tmp_path)
    of_graph(manifest, name)
    of_file(manifest, name)
    assert PackManifest.model_validate(manifest).graphs["trunk"].file == name


def shipped(part, **changes):
    """The manifest of "mini" with changes to one part, or to itself."""
    manifest = json.loads((shipped_packs()["mini"] / MANIFEST).read_text(encoding="utf-8"))
    (manifest[part] if part else manifest).update(changes)
    return manifest


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("codec", {"latent_mean": [0.0] * 15}, "codec: latent_mean has 15 figures and latent_std 16; latent_channels"),
        ("codec", {"latent_std": [1.0] * 17}, "codec: latent_mean has 16 figures and latent_std 17; latent_channels"),
        ("codec", {"latent_std": [1.0] * 15 + [0.0]}, "codec.latent_std.15: Input should be greater than 0"),
        ("codec", {"latent_mean": [float("nan")] * 16}, "codec.latent_mean.0: Input should be a finite number"),
        ("codec", {"pixel_range": [1.0, 1.0]}, r"codec: pixel_range goes from 1\.0 to 1\.0; it must rise"),
        ("codec", {"pixel_range": [0.0, float("inf")]}, "codec.pixel_range.1: Input should be a finite number"),
        ("codec", {"latent_channels": 0}, "codec.latent_channels: Input should be greater than or equal to 1"),
        ("codec", {"downsample": 0}, "codec.downsample: Input should be greater than or equal to 1"),
        ("codec", {"downsample": 4}, "image_size 64 does not fit the denoiser's latents of 8 by 8, .* 32 by 32 pixels"),
        ("denoiser", {"latent_shape": [4, 8, 8]}, "works on latents of 4 channels, the codec makes 16"),
        ("denoiser", {"latent_shape": [16, 8, 4]}, "does not fit the denoiser's latents of 8 by 4"),
        (
            "denoiser",
            {"latent_shape": [16, 0, 8]},
            "denoiser.dit.latent_shape.1: Input should be greater than or equal",
        ),
        ("denoiser", {"classes": []}, "denoiser.dit.classes: Tuple should have at least 1 item"),
        ("denoiser", {"null_class": 9}, "denoiser.dit: null_class 9 is one of the 10 classes; it must be an id after"),
        ("backbone", {"std": [0.5, -0.5, 0.5]}, "backbone.std.1: Input should be greater than 0"),
        ("backbone", {"image_size": 0}, "backbone.image_size: Input should be greater than or equal to 1"),
        ("backbone", {"features": 0}, "backbone.features: Input should be greater than or equal to 1"),
        (None, {"image_size": -64}, "image_size: Input should be greater than or equal to 1"),
        (None, {"image_size": 128}, "image_size 128 does not fit the denoiser's latents"),
        (None, {"image_size": None}, "image_size None does not fit the denoiser's latents"),
    ],
)
def test_a_manifest_that_means_nothing_is_refused_with_the_place_and_the_problem(tmp_path, part, changes, message):
    with pytest.raises(PackError, match=f"{MANIFEST} cannot be read as a pack of format 1: .*{message}"):
        Pack.open(written(tmp_path, shipped(part, **changes)))


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("conditioner", "a denoiser needs the graphs conditioner and trunk; conditioner is missing"),
        ("trunk", "a denoiser needs the graphs conditioner and trunk; trunk is missing"),
        ("encoder", "a codec needs the graphs encoder and decoder; encoder is missing"),
        ("decoder", "a codec needs the graphs encoder and decoder; decoder is missing"),
        ("backbone", "a backbone needs the graphs backbone; backbone is missing"),
    ],
)
def test_a_part_without_its_graph_is_refused(tmp_path, role, message):
    manifest = shipped(None)
    del manifest["graphs"][role]
    with pytest.raises(PackError, match=message):
        Pack.open(written(tmp_path, manifest))


TOKENIZER = "tokenizer/tokenizer.json"


def with_unet(folder, **changes):
    """The manifest of a pack with a UNet, cut or whole; roles share a file."""
    manifest = content(folder)
    (folder / TOKENIZER).parent.mkdir()
    (folder / TOKENIZER).write_text("{}")
    manifest["files"][TOKENIZER] = file_entry(folder / TOKENIZER).model_dump()
    manifest["denoiser"] = {"kind": "unet", "latent_shape": [4, 8, 8], "tokens": 77, **changes}
    manifest["graphs"]["text_encoder"] = manifest["graphs"]["conditioner"]
    return manifest


@pytest.mark.parametrize(
    ("cut", "roles"), [(True, ("text_encoder", "conditioner", "trunk")), (False, ("text_encoder", "trunk"))]
)
def test_a_unet_needs_a_conditioner_only_if_it_is_cut(tmp_path, cut, roles):
    manifest = with_unet(tmp_path, cut=cut)
    if not cut:
        del manifest["graphs"]["conditioner"]
    assert Pack.open(written(tmp_path, manifest)).manifest.denoiser.roles == roles


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 0}, "denoiser.unet.tokens: Input should be greater than or equal to 1"),
        ({"prediction": "sample"}, "denoiser.unet.prediction: Input should be 'epsilon' or 'v_prediction'"),
        ({"prompt": "a photo"}, r"denoiser.unet: prompt 'a photo' has no \{name\}; every class would have the same"),
        ({"tokenizer": "../tokenizer.json"}, "does not name a file inside the pack"),
        ({"tokenizer": "other.json"}, "it uses other.json but does not list its digest in files"),
        ({"classes": ["cat"]}, "denoiser.unet.classes: Extra inputs are not permitted"),
        ({"kind": "flux"}, "denoiser: Input tag 'flux' found using 'kind' does not match any of the expected tags"),
    ],
)
def test_a_unet_that_means_nothing_is_refused(tmp_path, changes, message):
    with pytest.raises(PackError, match=message):
        Pack.open(written(tmp_path, with_unet(tmp_path, **changes)))


def test_a_cut_unet_without_its_conditioner_is_refused(tmp_path):
    manifest = with_unet(tmp_path)
    del manifest["graphs"]["conditioner"]
    with pytest.raises(PackError, match="needs the graphs text_encoder and conditioner and trunk; conditioner is miss"):
        Pack.open(written(tmp_path, manifest))


def denied(self, *args, **kwargs):
    raise PermissionError(13, "Permission denied", str(self))


def test_a_manifest_that_may_not_be_read_is_refused_with_the_reason(folder, monkeypatch):
    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    with pytest.raises(PackError, match=f"the pack at '.*' cannot be read: .*Permission denied: '.*{MANIFEST}'"):
        Pack.open(folder)


def test_a_name_that_no_folder_can_have_is_refused():
    with pytest.raises(PackError, match=r"no pack at|cannot be read: .*too long"):
        Pack.open("a" * 5000)


def test_a_graph_that_may_not_be_read_is_refused_with_the_reason(folder, monkeypatch):
    pack = Pack.open(folder)
    monkeypatch.setattr("pathlib.Path.open", denied)
    with pytest.raises(PackError, match=f"'small' has a file that cannot be read: .*Permission denied: '.*{TRUNK}'"):
        pack.graph("trunk")
    with pytest.raises(PackError, match=r"'small' has a manifest that cannot be read: .*Permission denied"):
        pack.digest  # noqa: B018


def test_names_outside_ascii_are_written_and_read_in_utf8(folder):
    manifest = Pack.open(folder).manifest.model_copy(update={"name": "größer"})
    write_manifest(folder, manifest)
    assert "größer" in (folder / MANIFEST).read_bytes().decode("utf-8")
    assert Pack.open(folder).manifest == manifest


def test_a_file_that_changes_after_it_was_found_whole_is_noticed(folder):
    pack = Pack.open(folder)
    pack.check_file(TRUNK)
    (folder / TRUNK).write_text("another")
    with pytest.raises(PackError, match="is damaged or was changed"):
        pack.check_file(TRUNK)
