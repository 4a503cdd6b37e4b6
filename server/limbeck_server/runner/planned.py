"""Plans a job that nobody runs: what it would take, found out under its budget."""

from __future__ import annotations

from limbeck.memory.process import PeakMeter, limited
from limbeck.pack import Pack
from limbeck_server.jobs import DistillJob
from limbeck_server.runner.local import checked_source
from limbeck_server.runner.open_job import OnProgress
from limbeck_server.runner.planning import Planner, describe
from limbeck_server.runner.ready import make_ready


def plan_job(job: DistillJob, on_progress: OnProgress) -> dict[str, object]:
    """What `job` is predicted to take: its plan (`describe`), `budget_nbytes` and `disk_nbytes`, as JSON values.

    Engines are measured in processes of their own, and remembered; nothing is distilled. `job.out` is not used.

    Raises:
        BudgetError: No plan fits; it says what would.
        LimbeckError: The job could not run.
    """
    make_ready(job.method, job.budget_nbytes)
    with limited(job.budget_nbytes), PeakMeter() as meter:
        pack = Pack.open(job.pack)
        job.check_step_cache(pack.manifest)
        source, picture_nbytes = checked_source(job, meter, on_progress)
        planner = Planner(
            pack=pack,
            backend=job.backend,
            budget_nbytes=job.budget_nbytes,
            bucket=job.bucket,
            step_cache=job.step_cache,
            role_backends=job.role_backends,
            on_progress=on_progress,
        )
        found = planner.plan(job.method, source, picture_nbytes=picture_nbytes)
    num_images = len(source.class_names) * job.method.ipc
    size = pack.manifest.image_size or 0
    return {**describe(found), "budget_nbytes": job.budget_nbytes, "disk_nbytes": num_images * 3 * size**2}
