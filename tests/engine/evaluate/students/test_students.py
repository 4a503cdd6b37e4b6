"""Student networks against known sizes and against the libraries that have them."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from limbeck.errors import ConfigError
from limbeck.evaluate.students import Student

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


def parameters(student: Student, *, num_classes: int = 10, image_size: int = 32) -> int:
    network = student.build(num_classes=num_classes, image_size=image_size)
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(
    ("depth", "size", "count"),
    [
        # the published count of ConvNet-3 at 32 px; a block more is 128 * 128 * 9 weights, 128 biases, 256 of the norm
        (3, 32, 320_010),
        (4, 64, 320_010 + 147_840),
        (5, 128, 320_010 + 2 * 147_840),
        (6, 256, 320_010 + 3 * 147_840),
    ],
)
def test_the_size_of_a_convnet(depth: int, size: int, count: int) -> None:
    assert parameters(Student(name=f"convnet-{depth}"), image_size=size) == count


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_size_of_resnet_18_is_that_of_the_paper(norm: str) -> None:
    count = parameters(Student(name="resnet-18", norm=norm), num_classes=1000, image_size=224)  # type: ignore[arg-type]
    assert count == 11_689_512


def test_resnet_18_computes_what_transformers_computes_with_the_same_weights() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 128], depths=[2, 2, 2, 2], layer_type="basic", num_labels=5
    )
    theirs = transformers.ResNetForImageClassification(config).eval()
    ours = Student(name="resnet-18", norm="batch", width=16, stem="large").build(num_classes=5, image_size=64).eval()
    copy_in_order(theirs, ours)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images).logits, rtol=1e-4, atol=1e-4)


def copy_in_order(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Copies layer by layer; transformers names a block's shortcut before its convolutions, limbeck after."""
    kinds = torch.nn.Conv2d | torch.nn.BatchNorm2d | torch.nn.Linear

    def layers(network: torch.nn.Module) -> list[torch.nn.Module]:
        named = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, kinds)]
        main = [layer for name, layer in named if "shortcut" not in name]
        return main + [layer for name, layer in named if "shortcut" in name]

    for theirs, ours in zip(layers(source), layers(target), strict=True):
        ours.load_state_dict(theirs.state_dict())


def test_resnet_ap_pools_where_resnet_strides() -> None:
    """The same weights and sizes, and no stride but those of average pooling."""
    pooled = Student(name="resnet-ap-10").build(num_classes=10, image_size=224)
    strided = Student(name="resnet-10").build(num_classes=10, image_size=224)
    assert [p.shape for p in pooled.parameters()] == [p.shape for p in strided.parameters()]
    strides = {m.stride for m in pooled.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.MaxPool2d)}
    assert strides == {(1, 1)}
    assert pooled.blocks(pooled.stem(torch.zeros(1, 3, 224, 224))).shape == (1, 512, 7, 7)


@pytest.mark.parametrize(("size", "seen"), [(32, 32), (64, 64), (65, 32), (128, 64), (129, 32), (224, 56)])
@pytest.mark.parametrize("name", ["resnet-ap-10", "resnet-18"])
def test_the_stem_is_the_published_one_for_the_size(name: str, size: int, seen: int) -> None:
    """IDC: full size up to 64 px, half up to 128, a quarter beyond (a maximum rounds an odd size up)."""
    stem = Student(name=name, width=8).build(num_classes=2, image_size=size).stem
    assert abs(stem(torch.zeros(1, 3, size, size)).shape[-1] - seen) <= 1


@pytest.mark.parametrize("name", ["resnet-ap-10", "resnet-18"])
def test_convolutions_of_resnets_begin_as_he_et_al_draw_them(name: str) -> None:
    """Deviation sqrt(2 / (places * outputs)); PyTorch's own would be less than half of it here."""
    torch.manual_seed(0)
    for module in Student(name=name).build(num_classes=10, image_size=224).modules():
        if isinstance(module, torch.nn.Conv2d):
            places = module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx((2 / (places * module.out_channels)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", ["convnet-3", "convnet-4", "convnet-5", "convnet-6", "resnet-ap-10", "resnet-18"])
@pytest.mark.parametrize("size", [64, 96])
def test_students_train_on_images_of_any_usual_size(name: str, size: int) -> None:
    network = Student(name=name, width=8).build(num_classes=4, image_size=size).train()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 4)


@pytest.mark.parametrize("name", ["resnet-18", "resnet-ap-10", "convnet-3"])
def test_small_images_get_a_small_stem(name: str) -> None:
    network = Student(name=name, width=8).build(num_classes=4, image_size=32).train()
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet-50", 25_557_032),
        ("resnet-101", 44_549_160),
        ("vgg-11", 132_863_336),
        ("alexnet", 61_100_840),
        ("swin-v2-t", 28_351_570),
        ("shufflenet-v2", 2_278_604),
        ("mobilenet-v2", 3_504_872),
        ("efficientnet-b0", 5_288_548),
        ("vit-b-16", 86_567_656),
    ],
)
def test_students_of_torchvision_have_the_sizes_of_their_papers(name: str, count: int) -> None:
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    assert parameters(Student(name=name), num_classes=1000, image_size=224) == count


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_without_torchvision_its_students_name_the_extra() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'limbeck\[students\]'"):
        Student(name="mobilenet-v2").build(num_classes=10, image_size=64)


@pytest.mark.parametrize("written", ["resnet18", "ResNet-18", "resnet_18"])
def test_names_may_be_written_as_papers_write_them(written: str) -> None:
    assert Student.parse(written).name == "resnet-18"


def test_an_unknown_student_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown student 'resnet-19'; there is convnet-3"):
        Student.parse("resnet-19")


def test_images_too_small_for_the_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="alexnet needs images of 63 px, these have 32"):
        Student(name="alexnet").build(num_classes=2, image_size=32)
    with pytest.raises(ConfigError, match="halves 32 px to nothing"):
        Student(name="convnet-6").build(num_classes=2, image_size=32)
    with pytest.raises(ConfigError, match="a large stem needs images of 64 px, these have 32"):
        Student(name="resnet-18", stem="large").build(num_classes=2, image_size=32)
