"""`limbeck serve` with TLS and tokens, as an operator starts it: nothing that keeps strangers out was left out."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from base64 import b64encode

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")
pytest.importorskip("aiohttp", reason="the server extra is not installed")

from limbeck_server.operations.doctor import server_report  # noqa: E402
from limbeck_server.operations.probe import Door  # noqa: E402
from limbeck_server.trust.identity import Scope  # noqa: E402
from limbeck_server.trust.scopes import SCOPES  # noqa: E402
from limbeck_server.trust.tokens import add_token  # noqa: E402
from support.certificates import Authority  # noqa: E402
from support.live_server import LiveServer  # noqa: E402
from support.tokens import token_file  # noqa: E402

pytestmark = pytest.mark.slow
UNIMPLEMENTED = {f"/inference.GRPCInferenceService/{name}" for name in ("ModelStatistics", "ModelStreamInfer")}
UNIMPLEMENTED |= {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.health.v1.Health/List"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server, its authority's file, its tokens, and their file."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder)
    pair = authority.issue("server")
    path, tokens = token_file(folder)
    settings = {"tokens": str(path), "tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    settings |= {"metrics_address": "127.0.0.1:0", "message_nbytes": 2**20}
    with LiveServer(folder / "root", folder, **settings) as server:
        yield server, authority.certificate, tokens, path


def code_of(guarded, method, token="", request=b""):
    """How a call of any kind ends; OK too."""
    server, authority, tokens, _ = guarded
    metadata = [("authorization", f"Bearer {tokens.get(token, token)}")] if token else []
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    with grpc.secure_channel(server.address, credentials) as channel:
        try:
            for _ in channel.stream_stream(method)(iter([request]), metadata=metadata, timeout=60):
                break
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def page(guarded, path, token=""):
    """The status of a page."""
    server, authority, tokens, _ = guarded
    request = urllib.request.Request(f"https://{server.event('server_ready')['metrics_address']}{path}")
    if token:
        request.add_header("Authorization", "Basic " + b64encode(f"x:{tokens[token]}".encode()).decode())
    try:
        with urllib.request.urlopen(
            request, context=ssl.create_default_context(cafile=authority), timeout=60
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_no_rpc_is_served_without_a_token_but_probes(guarded):
    served = {method for method in SCOPES if code_of(guarded, method) != grpc.StatusCode.UNAUTHENTICATED}
    assert served == {method for method, scope in SCOPES.items() if scope is None}


@pytest.mark.parametrize("token", ["read", "submit"])
def test_no_rpc_is_served_to_a_token_with_too_little_scope(guarded, token):
    allowed = {None, *Scope} - ({Scope.SUBMIT, Scope.ADMIN} if token == "read" else {Scope.ADMIN})
    for method, scope in SCOPES.items():
        denied = code_of(guarded, method, token) == grpc.StatusCode.PERMISSION_DENIED
        assert denied == (scope not in allowed), method


def test_an_admin_reaches_every_rpc_of_the_table(guarded):
    """With an empty request most refuse it, but each is there."""
    missing = {method for method in SCOPES if code_of(guarded, method, "admin") == grpc.StatusCode.UNIMPLEMENTED}
    assert missing <= UNIMPLEMENTED


def test_a_message_over_the_limit_is_refused(guarded):
    method = "/limbeck.v1.JobService/CreateJob"
    assert code_of(guarded, method, "submit", bytes(2**20 + 1)) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_page_and_the_metrics_want_a_token_and_tls(guarded):
    for path in ("/", "/metrics"):
        assert (page(guarded, path), page(guarded, path, "read")) == (401, 200)
    assert page(guarded, "/healthz") == 200
    server = guarded[0]
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(f"http://{server.event('server_ready')['metrics_address']}/", timeout=10)


def test_a_new_token_counts_at_once_and_a_removed_one_no_more(guarded):
    method = "/limbeck.v1.ServerService/GetServerInfo"
    path = guarded[3]
    before = path.read_text()
    token = add_token(path, "late", Scope.READ)
    wait_for(lambda: code_of(guarded, method, token) == grpc.StatusCode.OK)
    path.write_text(before)
    wait_for(lambda: code_of(guarded, method, token) == grpc.StatusCode.UNAUTHENTICATED)


def test_the_doctor_finds_nothing_wrong_but_the_age_of_the_certificate(guarded):
    server, authority, tokens, _ = guarded
    findings = server_report(Door(address=server.address, ca=authority, token=tokens["read"]))
    bad = {finding.what for finding in findings if finding.good is False}
    assert bad <= {"certificate is good for", "disk"}


def test_sigterm_ends_it_with_exit_code_0(guarded):
    assert guarded[0].terminate() == 0


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
