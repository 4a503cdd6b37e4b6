"""The page in headless Chromium: what it draws, runs, asks for, and does not."""

from __future__ import annotations

import asyncio
import html
import io
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("aiohttp", reason="the server extra is not installed")
pytest.importorskip("jinja2", reason="the server extra is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed (Debian: chromium)", allow_module_level=True)

from limbeck_server.operations.state import Condition  # noqa: E402
from limbeck_server.store.records import FinishedUnit  # noqa: E402
from limbeck_server.web.view import LedgerView, WorkerRow  # noqa: E402
from support.echo import run  # noqa: E402
from support.pages import job_with_images, shown_pages, stored_image  # noqa: E402
from support.stores import lease  # noqa: E402

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    # Nothing but this machine can be reached, so that a page that asks for more shows it in the log.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
HOSTILE = "<script>document.title='owned'</script><img src='https://evil.example/x'>\u202e" + "Long" * 400


async def browse(folder, address, path, *flags):
    """What Chromium prints, and what it logs of the page."""
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *_FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        *flags,
        f"http://{address}{path}",
        stdout=PIPE,
        stderr=PIPE,
        stdin=DEVNULL,
    )
    try:
        output, log = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        shutil.rmtree(folder / "profile", ignore_errors=True)
    return output.decode(), [line for line in log.decode().splitlines() if "CONSOLE" in line]


async def dom(folder, address, path, *, virtual_seconds=1):
    """The document after so long by the page's own clock, and the browser's complaints."""
    return await browse(folder, address, path, "--dump-dom", f"--virtual-time-budget={1000 * virtual_seconds}")


async def pixels(folder, address, path, *, width=1000, height=1400, dark=False):
    """A screenshot as an array of (height, width, 3), and the browser's complaints."""
    file = folder / "page.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    _, log = await browse(folder, address, path, f"--screenshot={file}", f"--window-size={width},{height}", scheme)
    with Image.open(io.BytesIO(file.read_bytes())) as picture:
        return np.asarray(picture.convert("RGB")).astype(int), log


def solid(shown, color):
    """A job with one image of one color."""
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), color).save(stream, "PNG")
    job = job_with_images(shown, class_names=["one", "two"], ipc=1, finished=0)
    others = [other.id for other in shown.store.jobs(limit=1000)[0] if other.id != job.id]
    held = lease(shown.store, exclude=others)
    image = stored_image(shown.blobs, 0, 0, 1)
    digest = shown.blobs.put(stream.getvalue())
    made = type(image)(0, 0, digest, len(stream.getvalue()), image.row)
    shown.store.finish_unit(held.token, FinishedUnit(0, (made,)))
    return job


def test_an_image_is_drawn_in_its_own_colors_and_the_browser_complains_of_nothing(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            job = solid(shown, (255, 0, 200))
            found, log = await pixels(tmp_path, shown.address, f"/jobs/{job.id}")
            assert (found == (255, 0, 200)).all(axis=2).sum() > 70 * 70
            assert log == []

    run(main)


@pytest.mark.parametrize(("dark", "light_ground"), [(False, True), (True, False)])
def test_the_page_follows_the_readers_choice_of_light_or_dark(tmp_path, dark, light_ground):
    async def main():
        async with shown_pages(tmp_path) as shown:
            found, _ = await pixels(tmp_path, shown.address, "/", height=400, dark=dark)
            assert (found[-1, 0].mean() > 128) == light_ground

    run(main)


def test_hostile_names_run_nothing_ask_for_nothing_and_fit_a_phone(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            job = job_with_images(shown, class_names=[HOSTILE, "two"], ipc=1, owner=HOSTILE, finished=1)
            shown.state.enter(Condition.NO_WORKERS, HOSTILE)
            shown.workers.append(
                WorkerRow(worker="w", device=HOSTILE, state="busy", job=job.id, owner=HOSTILE, stage=HOSTILE, total=3)
            )
            for path in ("/", f"/jobs/{job.id}"):
                text, log = await dom(tmp_path, shown.address, path)
                assert "owned" not in re.search(r"<title>(.*?)</title>", text, re.DOTALL)[1]
                assert "evil.example" not in "".join(re.findall(r"<img[^>]*src=\"([^\"]*)\"", text))
                assert HOSTILE[:60] in html.unescape(text)
                assert log == []
            found, _ = await pixels(tmp_path, shown.address, f"/jobs/{job.id}", width=500, height=2000)
            margin = found[:, -10:]
            assert (margin == margin[0, 0]).all(), "something is wider than the page"

    run(main)


class Growing(LedgerView):
    """A view of a job of which a unit is finished each time that somebody looks."""

    async def job(self, who, job, **options):
        found = await super().job(who, job, **options)
        held = await self._store.run(lambda store: store.lease("w", max_images=1))
        if held is not None and held.units[0].index >= 0:
            label = held.units[0].index
            image = stored_image(self._blobs, label, 0, 4)
            await self._store.run(lambda store: store.finish_unit(held.token, FinishedUnit(label, (image,))))
        if held is not None:
            await self._store.run(lambda store: store.free(held.token))
        return found


def test_the_page_shows_new_images_by_itself_while_the_job_runs(tmp_path):
    async def main():
        async with shown_pages(tmp_path, view=Growing) as shown:
            job = job_with_images(shown, class_names=["zero", "one", "two", "three"], ipc=1, finished=0)
            text, log = await dom(tmp_path, shown.address, f"/jobs/{job.id}", virtual_seconds=20)
            assert [text.count(f"/images/{number}.png") for number in (1, 2, 3, 4)] == [1] * 4
            assert "4 of 4" in text
            assert log == []

    run(main)
