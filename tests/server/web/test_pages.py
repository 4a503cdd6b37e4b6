"""What the pages answer, over real HTTP and a real ledger."""

from __future__ import annotations

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="the server extra is not installed")
pytest.importorskip("jinja2", reason="the server extra is not installed")

from limbeck_server.operations.state import Condition  # noqa: E402
from limbeck_server.store.records import Failure  # noqa: E402
from limbeck_server.web.view import WorkerRow  # noqa: E402
from support.echo import run  # noqa: E402
from support.pages import job_with_images, shown_pages  # noqa: E402
from support.stores import lease, new_job, succeeded_job  # noqa: E402

HOSTILE = (
    "\"><script>document.title='owned'</script><img src=x onerror=alert(1)>{{ 7*7 }}\u202egnp.exe\x00" + "A" * 9000
)


async def get(shown, path, **options):
    """Status, headers and body."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{shown.address}{path}", **options) as answer:
        return answer.status, answer.headers, await answer.read()


async def text(shown, path):
    status, _, body = await get(shown, path)
    assert status == 200
    return body.decode()


def test_jobs_are_shown_newest_first_with_their_progress(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            old = succeeded_job(shown.store, spec={"method": "herding", "ipc": 3, "pack": "mini"})
            new = job_with_images(shown, finished=2)
            page = await text(shown, "/")
            assert page.index(new.id) < page.index(old.id)
            assert "8 of 16 images" in page
            assert "herding, 3 per class, pack mini" in page

    run(main)


def test_more_jobs_than_a_page_holds_are_reached_by_older(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            jobs = {new_job(shown.store).id for _ in range(60)}
            first = await text(shown, "/")
            link = first.split('href="/?after=')[1].split('"')[0]
            second = await text(shown, f"/?after={link}")
            found = [{job for job in jobs if job in page} for page in (first, second)]
            assert (len(found[0]), found[0] | found[1], found[0] & found[1]) == (50, jobs, set())

    run(main)


def test_a_jobs_page_shows_plan_measured_memory_events_and_every_image(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            job = job_with_images(shown, ipc=2, finished=3)
            shown.workers.append(
                WorkerRow(worker="w", device="cpu", state="busy", job=job.id, owner="ada", private_nbytes=500 * 2**20)
            )
            page = await text(shown, f"/jobs/{job.id}")
            for words in ("700 MiB", "denoiser weights", "500 MiB", "budget 800 MiB", "unit 2 finished (3 of 4)"):
                assert words in page
            assert [page.count(f"/images/{number}.png") for number in range(1, 8)] == [1] * 6 + [0]

    run(main)


def test_a_page_asks_for_itself_again_until_the_job_is_final(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            running, done = job_with_images(shown, finished=1), succeeded_job(shown.store)
            assert "data-refresh" in await text(shown, f"/jobs/{running.id}")
            assert "data-refresh" not in await text(shown, f"/jobs/{done.id}")

    run(main)


def test_an_image_is_the_blob_byte_for_byte_and_a_browser_keeps_it(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            job = job_with_images(shown, ipc=1, finished=2)
            (_, image), *_ = shown.store.images(job.id)
            status, headers, body = await get(shown, f"/jobs/{job.id}/images/1.png")
            assert (status, headers["Content-Type"], body) == (200, "image/png", shown.blobs.read(image.digest))
            assert "immutable" in headers["Cache-Control"]

    run(main)


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/" + "0" * 32,
        "/jobs/" + "0" * 32 + "/images/1.png",
        "/jobs/{job}/images/99.png",
        "/jobs/{job}/images/0.png",
        "/jobs/{job}/images/-1.png",
        "/jobs/{job}/images/999999999999999999999.png",
        "/jobs/{job}/images/..%2f..%2f..%2fledger.sqlite",
        "/jobs/..%2f..%2fetc%2fpasswd",
        "/static/..%2fpages.py",
        "/static/%2e%2e/pages.py",
        "/static/",
        "/nothing",
        "/jobs/<script>",
    ],
)
def test_what_is_not_there_is_not_found_and_says_so_harmlessly(tmp_path, path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            job = job_with_images(shown, ipc=1, finished=1)
            status, _, body = await get(shown, path.replace("{job}", job.id))
            assert status == 404
            assert b"<script>" not in body

    run(main)


def test_an_image_whose_file_is_gone_is_not_found(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            job = job_with_images(shown, ipc=1, finished=1)
            shown.blobs.path(shown.store.images(job.id)[0][1].digest).unlink()
            status, _, _ = await get(shown, f"/jobs/{job.id}/images/1.png")
            assert status == 404

    run(main)


def test_hostile_names_stay_text_wherever_they_stand(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            spec = {
                "method": HOSTILE,
                "ipc": HOSTILE,
                "pack": HOSTILE,
                "dataset": HOSTILE,
                "settings": {HOSTILE: HOSTILE},
            }
            failed = new_job(shown.store, spec=spec, owner=HOSTILE)
            held = lease(shown.store)
            shown.store.add_event(failed.id, HOSTILE, {HOSTILE: HOSTILE})
            shown.store.add_event(failed.id, "retry", {"index": HOSTILE, "reason": HOSTILE})
            shown.store.fail(held.token, Failure(HOSTILE, HOSTILE))
            job = job_with_images(shown, class_names=[HOSTILE, "</bdi></ul>"], ipc=1)
            shown.workers.append(
                WorkerRow(worker=HOSTILE, device=HOSTILE, state="busy", job=job.id, owner="ada", stage=HOSTILE)
            )
            shown.state.enter(Condition.DISK_FULL, HOSTILE)
            for path in ("/", f"/jobs/{failed.id}", f"/jobs/{job.id}"):
                page = await text(shown, path)
                assert "<script>document" not in page
                assert "<img src=x" not in page
                assert "</bdi></ul>" not in page.replace("</bdi></li>", "")
                assert ">49" not in page
                assert len(page) < 120_000

    run(main)


def test_a_condition_of_the_server_stands_on_every_page(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            shown.state.enter(Condition.DISK_FULL, "3 bytes are left")
            job = new_job(shown.store)
            for path in ("/", f"/jobs/{job.id}"):
                assert "3 bytes are left" in await text(shown, path)

    run(main)


def test_metrics_are_prometheus_text(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            shown.metrics.images_finished(3)
            status, headers, body = await get(shown, "/metrics")
            assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
            assert b"limbeck_images_total 3.0" in body

    run(main)


def test_healthz_says_what_is_wrong(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            assert (await get(shown, "/healthz"))[::2] == (200, b"serving\n")
            shown.state.enter(Condition.NO_WORKERS, "none")
            assert (await get(shown, "/healthz"))[::2] == (503, b"no_workers\n")

    run(main)


def test_a_server_without_jobs_says_how_to_make_one(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            page = await text(shown, "/")
            assert "limbeck jobs submit" in page
            assert "No worker is running" in page

    run(main)


@pytest.mark.parametrize("after", ["%00nonsense", "x" * 2000, "%ff", "999999999999999999999999"])
def test_a_made_up_place_in_the_list_is_a_bad_request(tmp_path, after):
    async def main():
        async with shown_pages(tmp_path) as shown:
            status, _, body = await get(shown, f"/?after={after}")
            assert status == 400
            assert b"no page token" in body

    run(main)


def test_a_ledger_that_cannot_be_read_is_said_on_the_page(tmp_path):
    async def main():
        async with shown_pages(tmp_path) as shown:
            await shown.close_ledger()
            for path in ("/", "/jobs/" + "0" * 32):
                status, _, body = await get(shown, path)
                assert status == 503
                assert b"the ledger is closed" in body

    run(main)
