import pytest

from support.containers import DOCKER, documents, flags_of_serve, image_of, run_tool

SERVICES = {"limbeck": "cpu", "limbeck-cuda": "cuda"}

each_service = pytest.mark.parametrize("name", SERVICES)


@pytest.fixture(scope="module")
def services():
    (compose,) = documents(DOCKER / "compose.yaml")
    return compose["services"]


@each_service
def test_a_service_is_built_from_its_dockerfile(services, name):
    build = services[name]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).resolve() == DOCKER / SERVICES[name] / "Dockerfile"


@each_service
def test_a_service_can_write_to_its_volumes_and_nothing_else(services, name):
    service = services[name]
    assert service["read_only"] is True
    written = [one.rpartition(":")[2] for one in service["volumes"] if not one.endswith(":ro")]
    assert sorted(written) == image_of(SERVICES[name]).last("VOLUME").words


@each_service
def test_a_service_has_no_privileges(services, name):
    service = services[name]
    assert (service["user"], service["cap_drop"]) == (image_of(SERVICES[name]).last("USER").text, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_published_ports_are_the_image_s(services, name):
    inside = [one.rpartition(":")[2] for one in services[name]["ports"]]
    assert inside == image_of(SERVICES[name]).last("EXPOSE").words


@each_service
def test_metrics_are_published_to_this_machine_only(services, name):
    assert services[name]["ports"][1].startswith("127.0.0.1:")


@each_service
def test_the_server_is_started_with_flags_that_it_has(services, name):
    command, *words = services[name]["command"]
    assert command == "serve"
    assert {word.partition("=")[0] for word in words} <= flags_of_serve()


@each_service
def test_a_service_keeps_the_settings_of_the_image(services, name):
    image = image_of(SERVICES[name]).last("CMD").words
    assert set(paired(image)) <= set(services[name]["command"])


def test_a_gpu_is_asked_for_in_its_profile_only(services):
    assert services["limbeck-cuda"]["profiles"] == ["cuda"]
    assert "deploy" not in services["limbeck"]


def test_docker_compose_accepts_the_file():
    found = run_tool("docker-compose", "--file", str(DOCKER / "compose.yaml"), "config", "--quiet")
    assert (found.returncode, found.stderr) == (0, "")


def paired(words):
    """The words of a command with `--flag value` written as `--flag=value`."""
    command, *rest = words
    return [command, *(f"{flag}={value}" for flag, value in zip(rest[::2], rest[1::2], strict=True))]
