"""Build the book: papermill runs every notebook, Jupyter Book renders what they showed.

make book
make book PROFILE=real ONLY=03_4_experiments
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient.exceptions import CellControlSignal, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from tools import cards, cover, freshness, links, pages
from xraylib import config, files
from xraylib.sources import open_radiographs

ROOT = Path(__file__).resolve().parents[2]
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL_ENVIRONMENT = {  # has to stand before a kernel starts
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel before the user's own
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # two kernels share a graphics card
}
# TensorFlow greets on stderr before any setting of ours can reach its logger.
NATIVE_LOG = re.compile(
    r"^(WARNING: All log messages before absl|[IW]\d{4} \d\d:\d\d:\d\d).*\n?", re.M
)
PROGRESS_BAR = re.compile(r"\d+%\|")  # says nothing on a finished page
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ERROR_LINES = 15
# One chapter starts, draws or waits while the other computes; runs are shared. The 15,160 images of
# the other profiles had better be computed one chapter after the other, on all cores or a GPU.
AT_ONCE = {"smoke": 2, "quick": 2, "real": 2}
LONGEST = "05_2_suspects"  # of the others, the last chapters take longer than the first
# What the other chapters' tables decide: run when they are done, and again whenever one has run.
LAST = ("07_claims",)
LOG_SECONDS = 30  # between two lines of progress where no terminal shows a bar
BAR = "{bar:10} {n_fmt} of {total_fmt} cells [{elapsed}]{postfix}"
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class QuietKernelManager(AsyncKernelManager):
    """Starts kernels whose stderr goes to the notebook, and not to the terminal as well."""

    async def start_kernel(self, **options):
        """Start the kernel."""
        await super().start_kernel(**options, stderr=subprocess.DEVNULL)


class TellingEngine(papermill.engines.NBClientEngine):
    """Papermill's own engine, which also tells of every cell that it begins."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, tell=None, **options):
        """Run a notebook.

        Args:
            nb_man: papermill's manager of the notebook.
            kernel_name: of the kernel.
            tell: called with the id and the place of a cell before it runs.
            options: of papermill.
        """
        begin = nb_man.cell_start

        def cell_start(cell, cell_index=None, **more):
            tell(cell.id, cell_index)
            return begin(cell, cell_index, **more)

        nb_man.cell_start = cell_start
        return super().execute_managed_notebook(nb_man, kernel_name, **options)


papermill.engines.papermill_engines.register("telling", TellingEngine)


class Progress:
    """Says how many cells have run, which chapters run now, and the cell that each is at.

    On a terminal that is one line with a bar, drawn anew every second. In a log it is a new line
    when a chapter begins or ends, and otherwise one in half a minute.

    Args:
        cells: how many each chapter has, by its name.
        stream: where it is written.
    """

    def __init__(self, cells: dict[str, int], stream=None):
        self.stream = stream or sys.stderr
        self.cells, self.done, self.at = cells, dict.fromkeys(cells, 0), {}
        plain = not self.stream.isatty()
        self.every = LOG_SECONDS if plain else 1
        self.start = self.written = time.monotonic()
        columns, lines = shutil.get_terminal_size()  # tqdm is silent where a terminal tells none
        options = {"disable": plain, "ncols": columns, "nrows": lines, "bar_format": BAR}
        self.bar = tqdm(total=sum(cells.values()), file=self.stream, **options)

    def begin(self, chapter: str, cell: str, place: int) -> None:
        """Say that a chapter has come to a cell."""
        is_new = chapter not in self.at
        self.done[chapter], self.at[chapter] = min(place, self.cells[chapter]), cell
        self.draw(is_new)

    def finish(self, chapter: str) -> None:
        """Say that a chapter is done."""
        self.done[chapter] = self.cells[chapter]
        self.at.pop(chapter, None)
        self.draw(True)

    def draw(self, now: bool = False) -> None:
        """Write where the book is.

        Args:
            now: in a log, too, that has got a line only a moment ago.
        """
        n, running = sum(self.done.values()), [f"{name} at {self.at[name]}" for name in self.at]
        if not self.bar.disable:
            self.bar.n = n
            self.bar.set_postfix_str(", ".join(running))
        elif now or time.monotonic() - self.written >= self.every:
            self.written = time.monotonic()
            took = tqdm.format_interval(self.written - self.start)
            text = ", ".join([f"{n} of {self.bar.total} cells [{took}]", *running])
            print(text, file=self.stream, flush=True)

    def follow(self, news) -> None:
        """Take news of other processes from a queue until it brings None.

        Args:
            news: of (chapter, cell, place); no cell means that the chapter is done.
        """
        while True:
            try:
                told = news.get(timeout=self.every)
            except queue.Empty:
                self.draw()  # a long cell: say that it still runs
                continue
            if told is None:
                return
            chapter, cell, place = told
            if cell is None:
                self.finish(chapter)
            else:
                self.begin(chapter, cell, place)


class BookError(Exception):
    """The book cannot be built; the message says where and why."""


def sources(root: Path) -> list[Path]:
    """Return the notebooks of the book in reading order.

    Raises:
        BookError: there is no book, or its table of contents lists other notebooks.
    """
    if not (root / "book/_toc.yml").exists():
        raise BookError(f"no book in {root}: it is built in a clone of the repository")
    found = {path.stem: path for path in (root / "notebooks").glob("*.ipynb")}
    listed = re.findall(r"file:\s*notebooks/(\w+)", (root / "book/_toc.yml").read_text("utf8"))
    if sorted(found) != sorted(listed):
        raise BookError(
            f"notebooks/ holds {', '.join(sorted(found))} but book/_toc.yml lists "
            f"{', '.join(listed)}: make the two agree"
        )
    return [found[name] for name in listed]


def check_parameters(source: Path, parameters: dict) -> None:
    """Raise `BookError` when the notebook's parameters cell lacks a name: papermill only warns."""
    known = papermill.inspect_notebook(str(source))
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise BookError(
            f"{source.name}: unknown parameter {', '.join(unknown)}; its parameters cell knows "
            f"{', '.join(known) or 'none'}"
        )


def check_kernel() -> None:
    """Raise `BookError` when the kernel `python3` is not the Python that runs this."""
    spec = KernelSpecManager().get_kernel_spec("python3")
    program = spec.argv[0]  # a bare "python" means the Python that asks
    if Path(program).name != program and Path(program) != Path(sys.executable):
        raise BookError(
            f"the kernel python3 in {spec.resource_dir} starts {program}, not {sys.executable}: "
            "remove that kernel, or install ipykernel in this environment"
        )


def without_kernel(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the executed notebook without what a page cannot use: widget state, native logs."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)  # its text/html twin stays
            if output.get("name") == "stderr":
                output.text = NATIVE_LOG.sub("", output.text).replace(f"{ROOT}/", "")
        if cell.cell_type == "code":
            cell.outputs = join_prints(filter(_says_something, cell.outputs))
    return notebook


def join_prints(outputs) -> list[nbformat.NotebookNode]:
    """Return outputs in which what was printed line by line, one after the other, is one text."""
    joined = []
    for output in outputs:
        before = joined[-1] if joined else {}
        if output.output_type == "stream" and output.name == before.get("name"):
            before.text += output.text
        else:
            joined.append(output)
    return joined


def _says_something(output: nbformat.NotebookNode) -> bool:
    data = output.get("data", {})
    is_bar = list(data) == ["text/plain"] and PROGRESS_BAR.search(data["text/plain"])
    return output.get("text") != "" and output.get("data") != {} and not is_bar


def add_run_note(notebook: nbformat.NotebookNode, profile: str) -> None:
    """Say at the end with which profile, when and how long the notebook ran."""
    seconds = notebook.metadata.papermill.duration
    note = (
        f"*Run with the profile **{profile}** on {date.today():%d %B %Y}, "
        f"in {seconds:.0f} s on {os.cpu_count()} cores.*"
    )
    notebook.cells.append(nbformat.v4.new_markdown_cell(note, id="run-note"))


def execute(source: Path, profile: str, folder: Path, stamp: str, news=None) -> str:
    """Run a notebook and write the copy to render into `folder`, whole or not at all.

    Args:
        source: the notebook.
        profile: its parameter.
        folder: for the copy.
        stamp: what the copy is made from, see `freshness.stamp`.
        news: a queue that is told of every cell: (chapter, cell, place).

    Returns:
        the name of the chapter.

    Raises:
        BookError: a cell failed; what had run is left as `<name>.failed.ipynb`.
    """
    running, failed = (folder / f"{source.stem}.{state}.ipynb" for state in ("running", "failed"))

    def tell(cell: str, place: int) -> None:
        if news is not None:
            news.put((source.stem, cell, place))

    try:
        notebook = papermill.execute_notebook(
            source,
            running,
            parameters={"PROFILE": profile},
            kernel_name="python3",
            kernel_manager_class=QuietKernelManager,
            cwd=source.parent,
            progress_bar=False,
            engine_name="telling",
            tell=tell,
        )
    except (PapermillExecutionError, DeadKernelError, CellControlSignal) as error:
        running.replace(failed)
        text = "\n".join(getattr(error, "traceback", None) or [str(error)])
        lines = ANSI_COLOUR.sub("", text).strip().splitlines()[-ERROR_LINES:]
        message = "\n".join(lines)
        raise BookError(f"{source.name} failed:\n{message}\nsee {failed}") from error
    failed.unlink(missing_ok=True)
    add_run_note(notebook, profile)
    links.add_cell_anchors(notebook)
    links.point_to_pages(notebook)
    links.add_function_links(notebook)
    pages.gather_machinery(notebook)
    pages.fold_bookkeeping(notebook)
    pages.fold_sections(notebook)
    freshness.keep_stamp(notebook, stamp)
    with files.whole_file(folder / source.name) as part:
        nbformat.write(without_kernel(notebook), part)
    running.unlink()
    return source.stem


def share_cores(processes: int) -> None:
    """Give each of several processes its part of the cores.

    Two networks that take all of them wait for each other: together they are half as fast as one.
    """
    each = max(1, (os.cpu_count() or 1) // processes)
    os.environ.update(dict.fromkeys(THREADS, str(each)))


def execute_all(root: Path, profile: str, only: str | None) -> None:
    """Run `only` one notebook, and every one whose executed copy no longer stands."""
    chapters, folder = sources(root), root / "book/notebooks"
    if only and only not in [path.stem for path in chapters]:
        raise BookError(f"no notebook {only}: {', '.join(path.stem for path in chapters)}")
    for source in chapters:
        check_parameters(source, {"PROFILE": profile})
    folder.mkdir(exist_ok=True)
    stamps = {source: freshness.stamp(source, profile, root) for source in chapters}
    stale = [
        path
        for path, stamp in stamps.items()
        if only == path.stem or freshness.stamp_of(folder / path.name) != stamp
    ]
    if not stale:
        return
    if not only:
        stale += [path for path in chapters if path.stem in LAST and path not in stale]
    at_once = min(AT_ONCE.get(profile, 1), len(stale))
    # what takes long is begun first, so that none is left to run alone
    order = stale if at_once == 1 else sorted(stale[::-1], key=lambda path: path.stem != LONGEST)
    progress, spawn = Progress({path.stem: n_cells(path) for path in stale}), get_context("spawn")
    workers = ProcessPoolExecutor(at_once, spawn, share_cores, (at_once,))
    with spawn.Manager() as manager, workers as pool:
        news = manager.Queue()
        follower = Thread(target=progress.follow, args=(news,), daemon=True)
        follower.start()
        try:
            for part in (
                [source for source in order if source.stem not in LAST],
                [source for source in order if source.stem in LAST],
            ):
                running = [
                    pool.submit(execute, source, profile, folder, stamps[source], news)
                    for source in part
                ]
                for done in as_completed(running):
                    news.put((done.result(), None, None))  # behind its cells, in the same queue
        except BookError:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            news.put(None)
            follower.join()
            progress.bar.close()


def n_cells(source: Path) -> int:
    """Return how many cells a notebook has."""
    return len(nbformat.read(source, as_version=4).cells)


def write_first_page(root: Path, profile: str) -> None:
    """Write what the first page includes: lab, radiographs, chapters as cards, run times."""
    folder = root / "book/notebooks"
    copies = {s.stem: nbformat.read(folder / s.name, as_version=4) for s in sources(root)}
    files.write_text(folder / "chapters.md", cards.write_cards(copies, folder))
    rows = [f"| Chapter | Run time, profile `{profile}` |", "|---|--:|"]
    for name, copy in copies.items():
        rows.append(f"| [](notebooks/{name}.ipynb) | {copy.metadata.papermill.duration:.0f} s |")
    files.write_text(folder / "run_times.md", "\n".join(rows) + "\n")
    files.write_text(folder / "cover.html", cover.first_screen())
    files.write_text(folder / "radiographs.md", cards.write_strip(folder))


def render(root: Path) -> Path:
    """Render `book/` into `book/_build/html` with warnings as errors; return the first page."""
    shutil.rmtree(root / "book/_build", ignore_errors=True)  # no page of an older book stays
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["build", "book", "--config", "_config.yml", "--path-output", "book"]
    strict = ["-W", "--keep-going", "-n", "--all", "-q"]
    if subprocess.run(jupyter_book + options + strict, cwd=root).returncode:
        raise BookError("jupyter-book failed: its warnings above say which page and line")
    try:
        pages.finish(root / "book/_build/html")
    except ValueError as error:
        raise BookError(str(error)) from error
    return root / "book/_build/html/index.html"


def add_network(html: Path) -> None:
    """Write what the page "Your own radiograph" computes with; a book without it stays a book.

    A process of its own: TensorFlow's memory is given back with it.
    """
    if (html / "own_radiograph.html").exists():
        command = [sys.executable, "-m", "tools.radiograph_page", str(html)]
        if subprocess.run(command).returncode:
            print("the page `own_radiograph` cannot compute, and says so", file=sys.stderr)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Build the book and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.build", description="Build the book.")
    parser.add_argument("--profile", choices=config.PROFILES, default="quick")
    parser.add_argument("--only", metavar="NOTEBOOK", help="run this one again, e.g. 04_results")
    options = parser.parse_args(arguments)
    os.environ.update(KERNEL_ENVIRONMENT)
    try:
        check_kernel()
        open_radiographs()  # now, for a chapter is run again when data arrive after its stamp
        execute_all(root, options.profile, options.only)
        write_first_page(root, options.profile)
        index = render(root)
        add_network(index.parent)
        print(f"the book is ready: {index}")
    except (BookError, files.WriteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
