"""What the three Dockerfiles promise, read from the files themselves."""

import importlib.util
import re
import tomllib

import pytest
from docker.dockerfile import expand
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from limbeck.cache import ROOT_VARIABLE
from support.containers import DOCKER, KINDS, flags_of_serve, image_of, run_tool, stages_of

SECRET = re.compile(r"token|secret|password|credential|api_?key", re.IGNORECASE)
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)

each_image = pytest.mark.parametrize("kind", KINDS)


def locked(kind):
    """Versions by name, of what an image installs."""
    text = (DOCKER / kind / "requirements.txt").read_text()
    return {canonicalize_name(name): version for name, version in PINNED.findall(text)}


@each_image
def test_an_image_runs_as_a_user_that_is_not_root_and_has_a_number(kind):
    assert image_of(kind).last("USER").text == "1000:1000"


@each_image
def test_a_base_image_is_named_with_its_release(kind):
    names = {stage.name for stage in stages_of(kind)}
    bases = [stage.base for stage in stages_of(kind) if stage.base not in names]
    assert all(re.search(r":[a-z]*\d+\.\d+", base) for base in bases), bases


@each_image
def test_tools_of_the_build_stay_in_the_stages_before(kind):
    *before, image = stages_of(kind)
    assert image.base == before[0].name


@each_image
def test_an_init_process_collects_what_workers_leave(kind):
    assert image_of(kind).last("ENTRYPOINT").words == ["tini", "--", "limbeck"]


@each_image
def test_the_health_check_asks_the_server_over_grpc(kind):
    python, flag, module = image_of(kind).health_command
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(module) is not None


@each_image
def test_what_is_written_lies_in_two_volumes(kind):
    assert image_of(kind).last("VOLUME").words == ["/cache", "/data"]


@each_image
def test_the_engine_cache_lies_in_its_volume(kind):
    assert image_of(kind).last("ENV").pairs[ROOT_VARIABLE] == "/cache"


@each_image
def test_no_bytecode_is_written_beside_the_code(kind):
    assert image_of(kind).last("ENV").pairs["PYTHONDONTWRITEBYTECODE"] == "1"


@each_image
def test_nothing_is_fetched_from_a_hub_at_run_time(kind):
    assert image_of(kind).last("ENV").pairs["HF_HUB_OFFLINE"] == "1"


@each_image
def test_the_installed_programs_come_first_on_the_path(kind):
    path = expand(image_of(kind).last("ENV").pairs["PATH"], {"PATH": "/usr/bin"})
    assert path == "/opt/limbeck/bin:/usr/bin"


@each_image
def test_no_secret_is_in_an_environment_or_a_label(kind):
    named = [
        name for stage in stages_of(kind) for word in ("ENV", "LABEL") for one in stage.all(word) for name in one.pairs
    ]
    assert [name for name in named if SECRET.search(name)] == []


@each_image
def test_the_server_starts_with_tokens_and_a_certificate_unless_told_otherwise(kind):
    words = image_of(kind).last("CMD").words
    assert {"--tokens", "--tls-certificate", "--tls-key"} <= set(words)
    assert "--insecure" not in words


@each_image
def test_the_ports_served_are_the_ports_exposed(kind):
    image = image_of(kind)
    words = image.last("CMD").words
    served = [words[words.index(flag) + 1].rpartition(":")[2] for flag in ("--address", "--metrics-address")]
    assert served == image.last("EXPOSE").words


@each_image
def test_the_server_is_started_with_flags_that_it_has(kind):
    command, *words = image_of(kind).last("CMD").words
    assert command == "serve"
    assert {word for word in words if word.startswith("--")} <= flags_of_serve()


@pytest.mark.parametrize("kind", ["cuda", "jetson"])
@pytest.mark.parametrize("word", ["USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"])
def test_the_images_run_in_the_same_way(kind, word):
    assert image_of(kind).last(word) == image_of("cpu").last(word)


@pytest.mark.parametrize("kind", ["cuda", "jetson"])
def test_an_image_for_a_gpu_starts_as_the_one_for_cpus_but_on_the_gpu(kind):
    words = image_of(kind).last("CMD").words
    at = words.index("--device")
    assert words[at + 1] == "cuda:0"
    assert words[:at] + words[at + 2 :] == image_of("cpu").last("CMD").words


@pytest.mark.parametrize(
    "lock", sorted(DOCKER.rglob("*requirements.txt")), ids=lambda path: str(path.relative_to(DOCKER))
)
def test_a_lock_names_one_version_and_its_hashes_for_every_package(lock):
    entries = re.split(
        r"\n(?=\S)", "\n".join(line for line in lock.read_text().splitlines() if not line.startswith("#"))
    )
    loose = [entry.partition(" ")[0] for entry in entries if not PINNED.match(entry) or "--hash=sha256:" not in entry]
    assert loose == []


@each_image
def test_no_image_installs_torch(kind):
    assert {"torch", "diffusers", "transformers"} & set(locked(kind)) == set()


@each_image
def test_a_lock_has_what_limbeck_asks_for(kind):
    project = tomllib.loads((DOCKER.parent / "pyproject.toml").read_text())["project"]
    extras = ["server", "text", "otel", *(["tensorrt-rtx"] if kind == "cuda" else [])]
    asked = [Requirement(text) for text in project["dependencies"]]
    asked += [Requirement(text) for extra in extras for text in project["optional-dependencies"][extra]]
    if kind != "cpu":  # its place is taken by a build for the device
        asked = [one for one in asked if one.name != "onnxruntime"]
    versions = locked(kind)
    unmet = [str(one) for one in asked if not one.specifier.contains(versions.get(canonicalize_name(one.name), "0"))]
    assert unmet == [], "run: sh docker/lock.sh"


def test_hadolint_finds_nothing():
    found = run_tool("hadolint", *(str(DOCKER / kind / "Dockerfile") for kind in KINDS))
    assert found.stdout == ""
