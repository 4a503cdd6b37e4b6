"""The study's tables and plots, into docs/study.md between their markers.

    python -m benchmarks.study_page          rewrites the page and docs/images/study

A block begins with `<!-- study of FILE -->`, FILE being in benchmarks/results, and ends with `<!-- end of study -->`.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import ROOT
from benchmarks.study_cells import ALL_REAL

PAGE = ROOT / "docs/study.md"
IMAGES = ROOT / "docs/images/study"
RESULTS = ROOT / "benchmarks/results"
RANDOM = "random"
RECONSTRUCTIONS = {"ddps"}
"""Methods that are rebuilt from an abstract: their results are not the paper's."""
MIN_SEEDS = 3
"""Fewer say nothing of a spread."""

MARKED = re.compile(r"(<!-- study of (?P<file>[\w.-]+) -->\n).*?(<!-- end of study -->\n)", re.DOTALL)

Record = Mapping[str, Any]


def main() -> None:
    """Rewrite the page, then draw."""
    text = PAGE.read_text()
    PAGE.write_text(with_study(text))
    for found in MARKED.finditer(text):
        file = RESULTS / found["file"]
        if file.is_file():
            draw(json.loads(file.read_text()), IMAGES)


def with_study(page: str, results: Path = RESULTS) -> str:
    """`page` with every marked block replaced by what its file says."""

    def block(found: re.Match[str]) -> str:
        file = results / found["file"]
        text = tables(json.loads(file.read_text())) if file.is_file() else "Not measured yet.\n"
        return f"{found[1]}\n{text}\n{found[3]}"

    return MARKED.sub(block, page)


def tables(result: Record) -> str:
    """Where it was measured, a table and a plot for each dataset and student, costs, and what was refused."""
    parts = [_head(result)]
    for dataset, student in groups(result):
        measured = [
            cell
            for cell in result["cells"]
            if (cell["dataset"], cell["student"], cell["status"]) == (dataset, student, "measured")
        ]
        parts.append(f"### {dataset}, {student}\n\n{_accuracies(measured)}")
        parts.append(f"![accuracy over images per class](images/study/{plot_name(dataset, student)})\n\n")
    return "".join([*parts, _beside_random(result), _costs(result), _refused(result)])


def groups(result: Record) -> list[tuple[str, str]]:
    """The datasets and students of which anything is measured."""
    found = {(cell["dataset"], cell["student"]): None for cell in result["cells"] if cell["status"] == "measured"}
    return list(found)


def plot_name(dataset: str, student: str) -> str:
    """The file of a plot."""
    return f"{dataset}-{student}.svg"


def by_method_and_ipc(measured: Sequence[Record]) -> dict[str, dict[int, list[Record]]]:
    """Cells by method, then by IPC, one a seed."""
    found: dict[str, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for cell in measured:
        found[cell["method"]][cell["ipc"]].append(cell)
    return found


def draw(result: Record, folder: Path) -> None:
    """A plot for each dataset and student: accuracy over IPC, a line a method, bars of a standard deviation."""
    import matplotlib as mpl

    mpl.use("svg")
    # the same figures give the same bytes
    mpl.rcParams["svg.hashsalt"] = "limbeck"
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for dataset, student in groups(result):
        measured = [
            cell
            for cell in result["cells"]
            if (cell["dataset"], cell["student"], cell["status"]) == (dataset, student, "measured")
        ]
        figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        for method, by_ipc in by_method_and_ipc(measured).items():
            if method == ALL_REAL:
                axes.axhline(100 * _mean(by_ipc[0], "best"), color="gray", linestyle=":", label=ALL_REAL)
                continue
            ipcs = sorted(by_ipc)
            axes.errorbar(
                ipcs,
                [100 * _mean(by_ipc[ipc], "best") for ipc in ipcs],
                yerr=[100 * _spread(by_ipc[ipc], "best") for ipc in ipcs],
                label=_shown(method),
                color="black" if method == RANDOM else None,
                linestyle="--" if method == RANDOM else "-",
                marker="o",
                capsize=3,
            )
        axes.set(xscale="log", xlabel="images per class", ylabel="best test accuracy, %", title=f"{dataset}, {student}")
        ticks = sorted({cell["ipc"] for cell in measured} - {0})
        axes.set_xticks(ticks, [str(ipc) for ipc in ticks])
        axes.minorticks_off()
        figure.legend(loc="outside right upper", fontsize="small")
        figure.savefig(folder / plot_name(dataset, student), metadata={"Date": None})
        pyplot.close(figure)


def _head(result: Record) -> str:
    machine, settings = result["machine"], result["settings"]
    width = f"width {settings['width']}" if settings["width"] else "published widths"
    changed = ", ".join(
        f"{method}.{name}={value}" for method, given in settings["methods"].items() for name, value in given.items()
    )
    rates = ", ".join(f"{rate:g} for {student}" for student, rate in settings.get("rates", {}).items())
    return (
        f"Measured until {result['date'][:10]} on {machine['cores']} cores of {machine['processor']}; "
        f"{len(result['cells'])} of {result['planned']} cells are finished. Hard-label protocol with "
        f"{settings['scale']:g} times its epochs ({settings['real_epochs']} on all real images), "
        f"{settings['image_size']} px, {width}, {settings['precision']}; "
        f"{f'learning rate {rates}, which the published one would not train in so few epochs; ' if rates else ''}"
        f"a distillation may take {settings['set_minutes']:g} minutes. Methods have limbeck's defaults"
        f"{f', but for {changed}' if changed else ''}.\n\n"
    )


def _accuracies(measured: Sequence[Record]) -> str:
    by_method = by_method_and_ipc(measured)
    ipcs = sorted({cell["ipc"] for cell in measured} - {0})
    lines = [
        f"| method | {' | '.join(f'IPC {ipc}: best | last' for ipc in ipcs)} |",
        f"| --- {'| --- ' * 2 * len(ipcs)}|",
    ]
    random = by_method.get(RANDOM, {})
    for method, by_ipc in by_method.items():
        if method == ALL_REAL:
            continue
        row = []
        for ipc in ipcs:
            found = by_ipc.get(ipc, [])
            better = sum(_gaps(_best(found), _best(random.get(ipc, [])))) > 0
            row += [_figure(found, "best", bold=better), _figure(found, "last")]
        lines.append(f"| {_shown(method)} | {' | '.join(row)} |")
    whole = by_method.get(ALL_REAL, {}).get(0, [])
    after = "Test accuracy in %, mean ± deviation (seeds); bold: above random of the same seeds.\n\n"
    if whole:
        count = f"All {whole[0]['images']:,} real images"
        after = f"{count}: best {_figure(whole, 'best')}, last {_figure(whole, 'last')}. {after}"
    return "\n".join([*lines, "", after])


def _beside_random(result: Record) -> str:
    """For each method, how far it is above random real images of the same seed."""
    found: dict[tuple[str, str, str, int], dict[int, float]] = defaultdict(dict)
    for cell in result["cells"]:
        if cell["status"] == "measured" and cell["method"] != ALL_REAL:
            found[cell["method"], cell["dataset"], cell["student"], cell["ipc"]][cell["seed"]] = cell["best"]
    contests = list(dict.fromkeys(key[1:] for key in found if key[0] == RANDOM))
    methods = [method for method in dict.fromkeys(key[0] for key in found) if method != RANDOM]
    if not contests or not methods:
        return ""
    lines = ["### Beside random images"]
    for ipc in sorted({ipc for _, _, ipc in contests}):
        here = [where for where in contests if where[-1] == ipc]
        lines += [
            f"\n| IPC {ipc} | {' | '.join(f'{dataset}, {student}' for dataset, student, _ in here)} |",
            f"| --- {'| --- ' * len(here)}|",
        ]
        for method in methods:
            row = [_difference(found.get((method, *where), {}), found[RANDOM, *where]) for where in here]
            if any(row):
                lines.append(f"| {_shown(method)} | {' | '.join(row)} |")
    return "\n".join(lines) + (
        "\n\nPoints above random by best accuracy, mean over the seeds that both have ± its standard error (seeds); "
        "bold: above at each of at least three seeds, which chance alone does once in eight times.\n\n"
    )


def _difference(some: Mapping[int, float], others: Mapping[int, float]) -> str:
    """The mean of the differences by seed, in points."""
    gaps = _gaps(some, others)
    if not gaps:
        return ""
    mean = statistics.fmean(gaps)
    if len(gaps) == 1:
        return f"{mean:+.1f} (1)"
    error = statistics.stdev(gaps) / len(gaps) ** 0.5
    text = f"{mean:+.1f} ± {error:.1f} ({len(gaps)})"
    return f"**{text}**" if len(gaps) >= MIN_SEEDS and min(gaps) > 0 else text


def _gaps(some: Mapping[int, float], others: Mapping[int, float]) -> list[float]:
    """The differences of the seeds that both have, in points."""
    return [100 * (some[seed] - others[seed]) for seed in some if seed in others]


def _best(found: Sequence[Record]) -> dict[int, float]:
    """Best accuracy by seed."""
    return {cell["seed"]: cell["best"] for cell in found}


def _costs(result: Record) -> str:
    """Seconds and memory of the distillations that were made, by dataset, method and IPC."""
    found: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
    for cell in result["cells"]:
        if cell.get("distill_peak_nbytes"):
            found[cell["dataset"], cell["method"], cell["ipc"]].append(cell)
    if not found:
        return ""
    lines = [
        "### What distilling takes\n",
        "| dataset | method | IPC | seconds | peak MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (dataset, method, ipc), some in sorted(found.items()):
        seconds = statistics.median(cell["distill_seconds"] for cell in some)
        peak = statistics.median(cell["distill_peak_nbytes"] for cell in some)
        lines.append(f"| {dataset} | {_shown(method)} | {ipc} | {seconds:.1f} | {peak / 1e6:.0f} |")
    return "\n".join(lines) + "\n\nMedians over seeds; the whole process, loading included.\n\n"


def _refused(result: Record) -> str:
    """Each reason once, with the IPCs it is for."""
    found: dict[tuple[str, str, str, str], set[int]] = defaultdict(set)
    for cell in result["cells"]:
        if cell["status"] != "measured":
            reason = " ".join(cell["reason"].split())
            found[cell["dataset"], cell["method"], cell["status"], reason].add(cell["ipc"])
    if not found:
        return ""
    lines = [
        f"- {dataset}, {method}, IPC {', '.join(map(str, sorted(ipcs)))}: {status}: {reason}"
        for (dataset, method, status, reason), ipcs in sorted(found.items())
    ]
    return "### What was not made\n\n" + "\n".join(lines) + "\n\n"


def _shown(method: str) -> str:
    return f"{method} (reconstruction)" if method in RECONSTRUCTIONS else method


def _figure(found: Sequence[Record], name: str, *, bold: bool = False) -> str:
    if not found:
        return ""
    text = f"{100 * _mean(found, name):.1f} ± {100 * _spread(found, name):.1f} ({len(found)})"
    return f"**{text}**" if bold else text


def _mean(found: Sequence[Record], name: str) -> float:
    return statistics.fmean(cell[name] for cell in found)


def _spread(found: Sequence[Record], name: str) -> float:
    return statistics.stdev(cell[name] for cell in found) if len(found) > 1 else 0.0


if __name__ == "__main__":
    main()
