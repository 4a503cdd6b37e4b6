"""The pages: what each path answers."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import jinja2
from aiohttp import web

import limbeck
from limbeck.errors import ConfigError, LimbeckError
from limbeck_server.operations.metrics import CONTENT_TYPE, Metrics
from limbeck_server.operations.state import ServerState
from limbeck_server.store.errors import NotFoundError, StoreError
from limbeck_server.store.records import FINAL, Job
from limbeck_server.trust.authorization import Tokens
from limbeck_server.web import words
from limbeck_server.web.bars import memory_bar
from limbeck_server.web.security import IDENTITY, Handler, add_headers, guard
from limbeck_server.web.view import JobView, View, WorkerRow

_JOBS = 50
_EVENTS = 60
_IMAGES = 240
_STATIC = {"page.css": "text/css", "refresh.js": "text/javascript", "icon.svg": "image/svg+xml"}
# A PNG file that small has few pixels, which are shown larger than they are: as squares, not as a blur.
_SMALL_NBYTES = 12_000
_STATUSES: tuple[tuple[type[LimbeckError], int], ...] = ((NotFoundError, 404), (StoreError, 503), (ConfigError, 400))
_FOREVER = "private, max-age=31536000, immutable"


class Pages:
    """The application.

    Args:
        view: What is shown.
        metrics: For `/metrics`, and how fast images come.
        state: What keeps the server from serving.
        tokens: Who may read; None lets everybody.
        local: Whether it is served to this machine only.
    """

    def __init__(
        self, view: View, metrics: Metrics, state: ServerState, *, tokens: Tokens | None = None, local: bool = True
    ) -> None:
        self._view = view
        self._metrics = metrics
        self._state = state
        self._tokens = tokens
        self._local = local
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("limbeck_server.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            name: getattr(words, name) for name in ("size", "duration", "moment", "cut", "as_json", "told")
        }
        self._templates.globals |= {"title": words.title, "version": limbeck.__version__}

    def application(self) -> web.Application:
        """What an HTTP server serves."""
        app = web.Application(middlewares=[guard(self._tokens, local=self._local), self._errors_told])
        app.on_response_prepare.append(add_headers)
        app.router.add_get("/", self._index)
        app.router.add_get("/jobs/{job:[0-9a-f]{32}}", self._job)
        app.router.add_get("/jobs/{job:[0-9a-f]{32}}/images/{number:[1-9][0-9]{0,8}}.png", self._image)
        app.router.add_get("/static/{name}", self._static)
        app.router.add_get("/metrics", self._figures)
        app.router.add_get("/healthz", self._health)
        return app

    async def _index(self, request: web.Request) -> web.Response:
        who = request[IDENTITY]
        jobs, after = await self._view.jobs(who, limit=_JOBS, after=request.query.get("after", ""))
        return self._page(
            200,
            "index.html",
            jobs=jobs,
            after=after,
            first="after" not in request.query,
            workers=self._view.workers(who),
            images_per_second=self._metrics.images_per_second,
        )

    async def _job(self, request: web.Request) -> web.Response:
        who = request[IDENTITY]
        found = await self._view.job(who, request.match_info["job"], num_events=_EVENTS, num_images=_IMAGES)
        workers = [worker for worker in self._view.workers(who) if worker.job == found.job.id]
        return self._page(200, "job.html", **_job_fields(found, workers))

    async def _image(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        path = await self._view.image_file(request[IDENTITY], request.match_info["job"], number)
        if not path.is_file():
            raise NotFoundError("the image's file is gone")
        return web.FileResponse(path, headers={"Content-Type": "image/png", "Cache-Control": _FOREVER})

    async def _static(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in _STATIC:
            raise NotFoundError("there is no such page")
        content = (files("limbeck_server.web") / "static" / name).read_bytes()
        return web.Response(body=content, content_type=_STATIC[name], charset="utf-8")

    async def _figures(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _health(self, request: web.Request) -> web.Response:
        conditions = ", ".join(sorted(self._state.reasons))
        return web.Response(status=503 if conditions else 200, text=f"{conditions or 'serving'}\n")

    @web.middleware
    async def _errors_told(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except LimbeckError as error:
            status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
            return self._page(status, "message.html", message=str(error))

    def _page(self, status: int, template: str, **fields: Any) -> web.Response:
        text = self._templates.get_template(template).render(reasons=self._state.reasons, **fields)
        return web.Response(status=status, text=text, content_type="text/html")


def _job_fields(found: JobView, workers: list[WorkerRow]) -> dict[str, Any]:
    job = found.job
    prepared, result = job.prepared or {}, job.result or {}
    measured = result.get("peak_nbytes") or sum(worker.private_nbytes for worker in workers)
    return {
        "job": job,
        "final": job.state in FINAL,
        "class_names": dict(enumerate(prepared.get("class_names") or [])),
        "skipped": prepared.get("skipped") or [],
        "events": list(reversed(found.events)),
        "images": list(reversed(found.images)),
        "small_images": all(one.image.nbytes < _SMALL_NBYTES for one in found.images),
        "workers": workers,
        "bar": memory_bar(prepared.get("plan"), measured),
        "took": _took(job),
    }


def _took(job: Job) -> float | None:
    if job.started_at is None or job.finished_at is None:
        return None
    return job.finished_at - job.started_at
