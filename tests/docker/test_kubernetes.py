import pytest
import yaml

from support.containers import DOCKER, documents, flags_of_serve, image_of, run_tool

FOLDER = DOCKER / "kubernetes"
VARIANTS = ("base", "tls")


@pytest.fixture(scope="module")
def pod():
    (stateful_set,) = documents(FOLDER / "base" / "statefulset.yaml")
    return stateful_set["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (only,) = pod["containers"]
    return only


def rendered(variant):
    """The objects of a variant by kind, as kubectl puts them together."""
    found = run_tool("kubectl", "kustomize", str(FOLDER / variant))
    assert found.returncode == 0, found.stderr
    return {one["kind"]: one for one in yaml.safe_load_all(found.stdout)}


def container_of(variant):
    (only,) = rendered(variant)["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return only


def test_the_pod_runs_as_the_user_of_the_image(pod):
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == image_of("cpu").last("USER").text


def test_the_volumes_belong_to_the_group_of_the_image(pod):
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_the_container_has_no_privileges_and_a_read_only_root(container):
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_pod_gets_no_token_of_the_cluster(pod):
    assert pod["automountServiceAccountToken"] is False


def test_the_volumes_of_the_image_are_mounted(container):
    mounted = {one["mountPath"] for one in container["volumeMounts"]}
    assert {*image_of("cpu").last("VOLUME").words, "/tmp"} <= mounted


def test_the_data_outlive_the_pod():
    (stateful_set,) = documents(FOLDER / "base" / "statefulset.yaml")
    claims = {one["metadata"]["name"] for one in stateful_set["spec"]["volumeClaimTemplates"]}
    assert claims == {"data"}


def test_the_ports_are_the_image_s(container):
    ports = [str(one["containerPort"]) for one in container["ports"]]
    assert ports == image_of("cpu").last("EXPOSE").words


def test_the_service_leads_to_ports_that_the_container_names(container):
    (service,) = documents(FOLDER / "base" / "service.yaml")
    assert {one["targetPort"] for one in service["spec"]["ports"]} <= {one["name"] for one in container["ports"]}


def test_service_and_policy_choose_the_pods_of_the_stateful_set():
    (stateful_set,) = documents(FOLDER / "base" / "statefulset.yaml")
    (service,) = documents(FOLDER / "base" / "service.yaml")
    (policy,) = documents(FOLDER / "base" / "networkpolicy.yaml")
    labels = stateful_set["spec"]["template"]["metadata"]["labels"]
    assert stateful_set["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_without_tls_the_kubelet_asks_over_grpc_itself(container, probe):
    assert str(container[probe]["grpc"]["port"]) == image_of("cpu").last("EXPOSE").words[0]


def test_a_server_that_only_drains_is_not_killed_for_it(container):
    assert container["livenessProbe"]["grpc"]["service"] == "limbeck.live"
    assert "service" not in container["readinessProbe"]["grpc"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_server_is_started_with_flags_that_it_has(variant):
    command, *words = container_of(variant)["args"]
    assert command == "serve"
    assert {word.partition("=")[0] for word in words} <= flags_of_serve()


@pytest.mark.parametrize("variant", VARIANTS)
def test_callers_need_a_token_in_every_variant(variant):
    assert "--tokens=/etc/limbeck/tokens/tokens.toml" in container_of(variant)["args"]


def test_the_variant_with_tls_is_not_insecure():
    words = container_of("tls")["args"]
    assert "--insecure" not in words
    assert {"--tls-certificate=/etc/limbeck/tls/tls.crt", "--tls-key=/etc/limbeck/tls/tls.key"} <= set(words)


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_with_tls_the_image_s_health_check_asks(probe):
    found = container_of("tls")[probe]
    health = image_of("cpu").health_command
    assert "grpc" not in found
    assert found["exec"]["command"][: len(health)] == health


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_read_only_is_a_secret_that_is_mounted(variant):
    pod = rendered(variant)["StatefulSet"]["spec"]["template"]["spec"]
    mounts = {one["name"]: one for one in pod["containers"][0]["volumeMounts"]}
    secrets = {one["name"] for one in pod["volumes"] if "secret" in one}
    assert {name for name, mount in mounts.items() if mount.get("readOnly")} == secrets


@pytest.mark.parametrize("variant", VARIANTS)
def test_kubernetes_schemas_accept_every_object(variant, tmp_path):
    path = tmp_path / "objects.yaml"
    path.write_text(run_tool("kubectl", "kustomize", str(FOLDER / variant)).stdout)
    found = run_tool("kubernetes-validate", "--strict", str(path))
    assert found.returncode == 0, found.stdout + found.stderr
