"""Attacks on the HTTP port: strangers, other sites in the operator's browser, odd requests."""

from __future__ import annotations

import asyncio
import base64
import ssl

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="the server extra is not installed")
pytest.importorskip("jinja2", reason="the server extra is not installed")

from limbeck.errors import ConfigError  # noqa: E402
from limbeck_server.trust.tls import ServerTls  # noqa: E402
from limbeck_server.trust.tokens import TokenFile  # noqa: E402
from limbeck_server.web.server import HttpServer  # noqa: E402
from limbeck_server.web.view import WorkerRow  # noqa: E402
from support.certificates import Authority  # noqa: E402
from support.echo import run  # noqa: E402
from support.pages import job_with_images, shown_pages  # noqa: E402
from support.stores import new_job  # noqa: E402
from support.tokens import token_file  # noqa: E402

PATHS = ("/", "/metrics", "/static/page.css", "/jobs/" + "0" * 32, "/nothing")


async def ask(shown, path="/", *, method="GET", scheme="http", tls=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{scheme}://{shown.address}{path}", headers=headers, ssl=tls or True) as answer,
    ):
        return answer.status, answer.headers, await answer.text(errors="replace")


def basic(token, user="anybody"):
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()


@pytest.fixture
def guarded(tmp_path):
    path, tokens = token_file(tmp_path)
    return TokenFile(path), tokens


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_forbids_a_browser_what_the_page_does_not_need(tmp_path, path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            _, headers, _ = await ask(shown, path)
            assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "Set-Cookie" not in headers
            assert headers["Server"] == "limbeck"

    run(main)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_the_page_is_for_reading_only(tmp_path, method):
    async def main():
        async with shown_pages(tmp_path) as shown:
            assert (await ask(shown, method=method))[0] == 405

    run(main)


def test_head_is_answered_without_a_body(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            status, _, body = await ask(shown, method="HEAD")
            assert (status, body) == (200, "")

    run(main)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", ""]
)
def test_a_site_whose_name_means_this_machine_reads_nothing(tmp_path, host):
    async def main():
        async with shown_pages(tmp_path) as shown:
            new_job(shown.store)
            assert (await ask(shown, Host=host))[0] in (400, 421)

    run(main)


@pytest.mark.parametrize("host", ["localhost:9090", "LOCALHOST", "127.0.0.1", "[::1]:9090", "10.0.0.7:9090"])
def test_the_machine_may_be_named_by_address_or_as_localhost(tmp_path, host):
    async def main():
        async with shown_pages(tmp_path) as shown:
            assert (await ask(shown, Host=host))[0] == 200

    run(main)


@pytest.mark.parametrize("path", PATHS)
def test_with_tokens_nothing_is_shown_without_one(tmp_path, guarded, path):
    async def main():
        async with shown_pages(tmp_path, tokens=guarded[0]) as shown:
            status, headers, _ = await ask(shown, path)
            assert status == 401
            assert headers["WWW-Authenticate"].startswith("Basic ")

    run(main)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        basic("wrong"),
        "Bearer wrong",
        "Digest x",
    ],
)
def test_a_wrong_token_shows_nothing(tmp_path, guarded, authorization):
    async def main():
        async with shown_pages(tmp_path, tokens=guarded[0]) as shown:
            assert (await ask(shown, Authorization=authorization))[0] == 401

    run(main)


@pytest.mark.parametrize("kind", ["Basic", "Bearer"])
def test_a_token_opens_the_page_as_password_or_bearer(tmp_path, guarded, kind):
    tokens, known = guarded

    async def main():
        async with shown_pages(tmp_path, tokens=tokens) as shown:
            sent = basic(known["read"]) if kind == "Basic" else f"Bearer {known['read']}"
            assert (await ask(shown, Authorization=sent))[0] == 200

    run(main)


def test_a_probe_needs_no_token(tmp_path, guarded):
    async def main():
        async with shown_pages(tmp_path, tokens=guarded[0]) as shown:
            assert (await ask(shown, "/healthz"))[::2] == (200, "serving\n")

    run(main)


def test_a_token_shows_its_own_jobs_and_an_admins_everybodys(tmp_path, guarded):
    tokens, known = guarded

    async def main():
        async with shown_pages(tmp_path, tokens=tokens) as shown:
            own = job_with_images(shown, ipc=1, finished=1, owner="read")
            other = job_with_images(shown, ipc=1, finished=1, owner="submit")
            for name, seen in (("read", {own.id}), ("admin", {own.id, other.id})):
                _, _, page = await ask(shown, Authorization=basic(known[name]))
                assert {job for job in (own.id, other.id) if job in page} == seen
            for path in (f"/jobs/{other.id}", f"/jobs/{other.id}/images/1.png"):
                assert (await ask(shown, path, Authorization=basic(known["read"])))[0] == 404
                assert (await ask(shown, path, Authorization=basic(known["admin"])))[0] == 200

    run(main)


def test_a_worker_that_works_for_somebody_else_shows_only_that_it_works(tmp_path, guarded):
    tokens, known = guarded

    async def main():
        async with shown_pages(tmp_path, tokens=tokens) as shown:
            shown.workers.append(
                WorkerRow(worker="w", device="cpu", state="busy", job="a" * 32, owner="submit", stage="secret stage")
            )
            _, _, page = await ask(shown, Authorization=basic(known["read"]))
            assert "busy" in page
            assert "secret stage" not in page
            assert "aaaa" not in page

    run(main)


def test_the_page_speaks_tls_where_it_is_given_a_certificate(tmp_path):
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    tls = ServerTls(certificate=pair.certificate, key=pair.key).http_context()

    async def main():
        async with shown_pages(tmp_path, tls=tls) as shown:
            trusted = ssl.create_default_context(cafile=authority.certificate)
            assert (await ask(shown, scheme="https", tls=trusted))[0] == 200
            with pytest.raises(aiohttp.ClientError):
                await ask(shown)

    run(main)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 1000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_an_odd_request_is_refused_and_the_page_goes_on(tmp_path, request_bytes):
    async def main():
        async with shown_pages(tmp_path) as shown:
            new = new_job(shown.store)
            host, _, port = shown.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request_bytes)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            assert b" 200 " not in answer.partition(b"\r\n")[0]
            assert new.id.encode() not in answer
            assert (await ask(shown))[0] == 200

    run(main)


def test_a_port_that_is_taken_is_said(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            pages = HttpServer(shown.pages, shown.address)
            with pytest.raises(ConfigError, match="cannot serve pages at"):
                await pages.__aenter__()

    run(main)


@pytest.mark.parametrize("beginning", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_connections_that_say_nothing_or_half_are_closed(tmp_path, beginning):
    async def main():
        async with shown_pages(tmp_path) as shown, HttpServer(shown.pages, "127.0.0.1:0", idle_seconds=0.3) as server:
            host, _, port = server.address.rpartition(":")
            opened = [await asyncio.open_connection(host, int(port)) for _ in range(30)]
            for _, writer in opened:
                writer.write(beginning)
            for reader, writer in opened:
                await reader.read()  # ends only when the server closes
                writer.close()

    run(main)
