import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("diffusers")

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.pack import ExportOptions, export_pack  # noqa: E402
from limbeck.export.sources import load_networks  # noqa: E402
from limbeck.pack import Pack  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", params=["tied", "untied"])
def exported(request, tmp_path_factory, make_dit, save_pipeline):
    """A DiT and its pack, with one embedder for all blocks, or one for each."""
    folder = tmp_path_factory.mktemp(request.param)
    dit = make_dit(tied=request.param == "tied")
    export_pack([str(save_pipeline(folder / "pipeline", dit))], folder / "pack")
    return dit, folder / "pack"


def predict(run, pack, latents, timestep, class_id):
    modulation = run(pack, "conditioner", timestep=timestep, class_id=class_id)
    return run(pack, "trunk", latents=latents, **modulation)["prediction"]


def operators(path):
    return [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]


def test_conditioner_and_trunk_together_are_the_whole_network(exported, run):
    dit, pack = exported
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((5, 4, 8, 8), dtype=np.float32)
    timestep, class_id = np.array([0, 999, 20, 500, 731]), np.array([10, 3, 9, 0, 10])
    with torch.no_grad():
        expected = dit(*(torch.tensor(array) for array in (latents, timestep, class_id))).sample.numpy()
    np.testing.assert_allclose(predict(run, pack, latents, timestep, class_id), expected, rtol=1e-3, atol=2e-4)


def test_attention_is_one_node_a_block_and_never_a_softmax(exported):
    _, pack = exported
    found = operators(pack / "transformer/model.onnx")
    assert (found.count("MultiHeadAttention"), found.count("Softmax")) == (2, 0)


def test_the_operator_set_of_attention_is_declared(exported):
    _, pack = exported
    model = onnx.load(pack / "transformer/model.onnx")
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 23, "com.microsoft": 1}


def test_equal_embedders_are_stored_once_and_different_ones_each(exported):
    dit, pack = exported
    first, second = (block.norm1.emb.class_embedder.embedding_table.weight for block in dit.transformer_blocks)
    graph = onnx.load(pack / "transformer_conditioner/model.onnx").graph
    tables = [tensor for tensor in graph.initializer if tuple(tensor.dims) == tuple(first.shape)]
    assert len(tables) == (1 if torch.equal(first, second) else 2)


def test_the_manifest_describes_the_denoiser(exported):
    _, pack = exported
    info = Pack.open(pack).manifest.denoiser
    assert (info.latent_shape, info.null_class, info.learned_sigma) == ((4, 8, 8), 10, True)


def test_class_names_keep_their_synonyms_and_their_order(exported):
    _, pack = exported
    assert Pack.open(pack).manifest.denoiser.classes == tuple(f"name {i}, synonym" for i in range(10))


def test_the_noise_schedule_is_the_sources(exported):
    _, pack = exported
    assert Pack.open(pack).schedule_config()["beta_end"] == 0.02


def test_a_network_without_learned_sigma_is_described_so(tmp_path, make_dit, save_pipeline):
    source = save_pipeline(tmp_path / "pipeline", make_dit(out_channels=4))
    assert not load_networks([str(source)], ExportOptions()).denoiser.info.learned_sigma


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta_end": None, "prediction_type": "v_prediction"}, "predicts 'v_prediction'"),
        ({"num_train_timesteps": None}, "has no noise levels"),
    ],
    ids=["v-prediction", "no-levels"],
)
def test_a_schedule_that_limbeck_cannot_follow_is_refused(tmp_path, make_dit, save_pipeline, change, message):
    source = save_pipeline(tmp_path / "pipeline", make_dit(), **change)
    path = source / "scheduler/scheduler_config.json"
    config = {key: value for key, value in json.loads(path.read_text()).items() if value is not None}
    path.write_text(json.dumps(config | ({"beta_end": 0.02} if "prediction_type" in config else {})))
    with pytest.raises(ExportError, match=message):
        load_networks([str(source)], ExportOptions())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_sample": True}, "would make a pack that cannot generate: .*clip_sample=True"),
        ({"snr_shift_scale": 3.0}, r"would make a pack that cannot generate: .*snr_shift_scale=3\.0"),
        ({"beta_start": 0.5, "beta_end": 1.0}, "would make a pack that cannot generate: .*alpha_bar that falls"),
    ],
    ids=["clipping", "unknown", "no signal"],
)
def test_a_schedule_that_the_pack_could_not_be_run_with_is_refused(tmp_path, make_dit, save_pipeline, change, message):
    source = save_pipeline(tmp_path / "pipeline", make_dit(), **change)
    with pytest.raises(ExportError, match=message):
        load_networks([str(source)], ExportOptions())


def test_class_names_can_come_from_a_file(tmp_path, make_dit, save_pipeline):
    source = save_pipeline(tmp_path / "pipeline", make_dit(), names=False)
    names = tmp_path / "names.txt"
    names.write_text("".join(f"class {i}\n" for i in range(10)))
    networks = load_networks([str(source)], ExportOptions(classes=names))
    assert networks.denoiser.info.classes[3] == "class 3"


def test_a_network_without_class_names_is_refused(tmp_path, make_dit, save_pipeline):
    source = save_pipeline(tmp_path / "pipeline", make_dit(), names=False)
    with pytest.raises(ExportError, match="does not name its 10 classes; give a file of names with --classes"):
        load_networks([str(source)], ExportOptions())


def test_too_few_class_names_are_refused(tmp_path, make_dit, save_pipeline):
    source = save_pipeline(tmp_path / "pipeline", make_dit())
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    options = ExportOptions(classes=tmp_path / "names.txt")
    with pytest.raises(ExportError, match="names 2 classes, the network has 10"):
        load_networks([str(source)], options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9\n" * 10, r"cannot read the class names in .*names\.txt.* must be a text file in UTF-8"),
        (b"cat\ndog\n" * 5, r"names\.txt names cat, dog more than once; every class needs a name of its own"),
        (None, r"cannot read the class names in .*names\.txt"),
    ],
    ids=["no text", "twice", "missing"],
)
def test_a_file_that_does_not_name_classes_is_refused(tmp_path, make_dit, save_pipeline, content, message):
    source = save_pipeline(tmp_path / "pipeline", make_dit())
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ExportError, match=message):
        load_networks([str(source)], ExportOptions(classes=tmp_path / "names.txt"))


@pytest.mark.parametrize("labels", [{"first": "cat"}, ["cat", "dog"]], ids=["no ids", "list"])
def test_labels_that_do_not_map_ids_are_refused(tmp_path, make_dit, save_pipeline, labels):
    source = save_pipeline(tmp_path / "pipeline", make_dit())
    index = json.loads((source / "model_index.json").read_text()) | {"id2label": labels}
    (source / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ExportError, match="must map ids to names; give a file of names with --classes"):
        load_networks([str(source)], ExportOptions())


def test_a_networks_own_names_may_repeat(tmp_path, make_dit, save_pipeline):
    """ImageNet has two "crane"s, and so has DiT-XL/2."""
    source = save_pipeline(tmp_path / "pipeline", make_dit())
    index = json.loads((source / "model_index.json").read_text())
    index["id2label"] |= {"3": "crane", "5": "crane"}
    (source / "model_index.json").write_text(json.dumps(index))
    assert load_networks([str(source)], ExportOptions()).denoiser.info.classes[3:6:2] == ("crane", "crane")


def test_class_names_that_skip_an_id_are_refused(tmp_path, make_dit, save_pipeline):
    source = save_pipeline(tmp_path / "pipeline", make_dit())
    index = json.loads((source / "model_index.json").read_text())
    index["id2label"] = {str(i + 1): f"name {i}" for i in range(10)}
    (source / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ExportError, match="must name the ids 0 to 9; it names 1 to 10"):
        load_networks([str(source)], ExportOptions())


def test_the_old_name_of_the_class_is_accepted(tmp_path, make_dit, save_pipeline):
    source = save_pipeline(tmp_path / "pipeline", make_dit())
    index = (source / "model_index.json").read_text()
    (source / "model_index.json").write_text(index.replace("DiTTransformer2DModel", "Transformer2DModel"))
    assert load_networks([str(source)], ExportOptions()).denoiser.info.null_class == 10


@pytest.mark.slow
def test_two_blocks_of_dit_xl_keep_their_promise(tmp_path, make_dit, save_pipeline):
    dit = make_dit(num_attention_heads=16, attention_head_dim=72, sample_size=32, num_embeds_ada_norm=1000)
    manifest = export_pack([str(save_pipeline(tmp_path / "pipeline", dit))], tmp_path / "pack")
    assert max(graph.parity for graph in manifest.graphs.values()) < 1e-4


@pytest.mark.full_size
def test_dit_xl_keeps_its_promise(tmp_path, make_dit, save_pipeline):
    """Needs 10 GB of memory and 7 GB of disk; the weights are random."""
    dit = make_dit(
        num_layers=28, num_attention_heads=16, attention_head_dim=72, sample_size=32, num_embeds_ada_norm=1000
    )
    manifest = export_pack([str(save_pipeline(tmp_path / "pipeline", dit))], tmp_path / "pack")
    assert max(graph.parity for graph in manifest.graphs.values()) < 1e-4
