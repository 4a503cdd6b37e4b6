"""What `docker.prove` tries on the image's server: TLS, tokens, health check, a job, its end and its next start."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from docker.container import Container
from docker.subject import PHOTOS, Failed, Subject, Volumes

ETC = "/etc/limbeck"
READY_SECONDS = 120.0
JOB_SECONDS = 300.0
LONG_IMAGES = 200
END_SECONDS = 60.0


def default_start_is_refused(subject: Subject) -> str:
    """CMD as it stands, with nothing mounted at /etc/limbeck."""
    with subject.volumes() as volumes, subject.run([*subject.entrypoint, *_command(subject)], volumes) as started:
        container, output = started
        status = container.wait(seconds=END_SECONDS)
        said = output.read_text(errors="replace").strip()
    if status == 0 or ETC not in said:
        raise Failed(f"ended with {status} and said {said}")
    return f"exit code {status}, {said.splitlines()[-1]}"


def serves(subject: Subject) -> str:
    """A job over TLS from registration to download, then SIGTERM."""
    with subject.volumes() as plain:
        volumes = _with_secrets(subject, plain)
        with subject.run(_serving(subject), volumes) as (container, output):
            seconds = _await_health(subject, container, output)
            stranger = _asked(container, _STRANGER, output)
            page = _asked(container, _PAGE, output)
            images = _submitted(container, output)
            front = _asked(container, _FRONT, output)
            status = container.stop(seconds=END_SECONDS)
    if (stranger, page, images, status) != ("DeniedError", "200 401", 10, 0):
        raise Failed(f"stranger: {stranger}, page: {page}, images: {images}, exit code after SIGTERM: {status}")
    return (
        f"healthy after {seconds:.0f} s by the image's own HEALTHCHECK, over TLS; without token neither gRPC nor the "
        f"page lets one in; limbeck jobs submit uploaded the photos and fetched {images} images; the front held "
        f"{front} MB; SIGTERM ended it with 0"
    )


def survives(subject: Subject) -> str:
    """A container that is killed in the middle of a job, and a second one on the same volumes."""
    with subject.volumes() as plain:
        volumes = _with_secrets(subject, plain)
        with subject.run(_serving(subject), volumes) as (container, output):
            _await_health(subject, container, output)
            job, before = _asked(container, _LONG_JOB, output).split()
            container.kill()
        with subject.run(_serving(subject), volumes) as (container, output):
            _await_health(subject, container, output)
            after = _asked(container, _FINISH.format(job=job), output)
    if after != str(LONG_IMAGES):
        raise Failed(f"expected {LONG_IMAGES} different images, found {after}")
    return f"killed after {before} of {LONG_IMAGES} images; the next container finished the job, each image once"


def _serving(subject: Subject) -> list[str]:
    return [*subject.entrypoint, *_command(subject), "--data-root", PHOTOS]


def _command(subject: Subject) -> list[str]:
    return subject.stage.last("CMD").words


def _with_secrets(subject: Subject, volumes: Volumes) -> Volumes:
    """A certificate for localhost, and a token that may submit, as an operator mounts them."""
    etc = volumes.folder / "etc"
    etc.mkdir()
    certificate = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = "-addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    files = ["-keyout", str(etc / "tls.key"), "-out", str(etc / "tls.crt")]
    subprocess.run([*certificate.split(), *names.split(), *files], check=True, capture_output=True)
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    (etc / "tokens.toml").write_text(f'[tokens.prove]\nsha256 = "{digest}"\nscope = "submit"\n')
    (etc / "token").write_text(token)
    for path in (etc, *etc.iterdir()):
        os.chmod(path, 0o700 if path.is_dir() else 0o600)
        subject.give(path)
    return replace(volumes, read={**volumes.read, ETC: etc})


def _await_health(subject: Subject, container: Container, output: Path) -> float:
    """Run HEALTHCHECK's command until it ends with 0; the seconds that took."""
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < READY_SECONDS:
        try:
            done = container.execute(subject.stage.health_command)
        except RuntimeError as error:
            raise Failed(f"{error}: {output.read_text(errors='replace')[-2000:]}") from error
        if done.returncode == 0:
            return elapsed
        time.sleep(0.5)
    raise Failed(f"not healthy after {elapsed:.0f} s, {done.stdout}: {output.read_text(errors='replace')[-2000:]}")


def _submitted(container: Container, output: Path) -> int:
    """The images that `limbeck jobs submit` brings back from a small job on uploaded photos."""
    command = ["limbeck", "jobs", "submit", "--ca", f"{ETC}/tls.crt", "--token-file", f"{ETC}/token"]
    done = container.execute(
        [*command, "--data", PHOTOS, "--ipc", "1", "--set", "num_steps=4", "--out", "/tmp/fetched"], seconds=JOB_SECONDS
    )
    if done.returncode != 0:
        raise Failed(f"{done.stdout[-2000:]}\nthe server said: {output.read_text(errors='replace')[-2000:]}")
    found = container.execute(["sh", "-c", "ls /tmp/fetched/train/*/*.png"])
    return len(found.stdout.splitlines())


def _asked(container: Container, program: str, output: Path) -> str:
    """What a Python program printed that ran beside the server, as the image's user."""
    done = container.execute(["python", "-c", program], seconds=JOB_SECONDS)
    if done.returncode != 0:
        raise Failed(f"{done.stdout[-2000:]}\nthe server said: {output.read_text(errors='replace')[-2000:]}")
    return done.stdout.strip().rpartition("\n")[2]


_CLIENT = """
import pathlib
from limbeck_server.client import Client, ServerError, Tls
tls = Tls(ca=pathlib.Path("/etc/limbeck/tls.crt"))
"""

_STRANGER = f"""{_CLIENT}
with Client("localhost:50051", tls=tls) as client:
    try:
        client.server_info()
        print("let in")
    except ServerError as error:
        print(type(error).__name__)
"""

_KNOWN = f"""{_CLIENT}
client = Client("localhost:50051", tls=tls, token_file=pathlib.Path("/etc/limbeck/token"))
"""

_PAGE = """
import ssl, urllib.error, urllib.request
context = ssl.create_default_context(cafile="/etc/limbeck/tls.crt")
def status(path):
    try:
        return urllib.request.urlopen("https://localhost:9090" + path, context=context, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code
print(status("/healthz"), status("/metrics"))
"""

_LONG_JOB = f"""{_KNOWN}
with client:
    data = client.register_dataset("{PHOTOS}")
    job = client.submit("d4m", data, ipc={LONG_IMAGES // 10}, settings={{"num_steps": 20}})
    for event in client.watch(job):
        if event.kind == "unit":
            print(job.name, client.job(job).finished_images)
            break
"""

_FINISH = f"""{_KNOWN}
with client:
    client.wait("{{job}}")
    print(len({{{{(image.label, image.position) for image in client.images("{{job}}")}}}}))
"""

# The front is the first child of tini, whose process id inside is 1.
_FRONT = """
import pathlib
front = min(int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*") if int(path.name) > 1)
lines = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{front}/status").read_text().splitlines())
print(round(int(lines["VmRSS"].split()[0]) * 1024 / 1e6))
"""
