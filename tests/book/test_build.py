"""The builder, on notebooks of two cells."""

import io
import json
import os
import queue
import shutil
import sys
import threading
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tools import build, freshness

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
FIRST_PAGE = """# Book

```{raw} html
:file: notebooks/cover.html
```

```{include} notebooks/radiographs.md
```

```{include} notebooks/chapters.md
```

```{include} notebooks/run_times.md
```
"""
GOOD = "import uuid, sys, os\nprint(PROFILE, uuid.uuid4(), sys.executable, os.getcwd())"


def write_notebook(root, name, code, parameters='PROFILE = "quick"'):
    cells = [
        new_markdown_cell(f"# Chapter {name}", id="title"),
        new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}),
        new_code_cell(code, id="code"),
    ]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), root / f"notebooks/{name}.ipynb")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository of two chapters with the settings of the real one."""
    for name, value in build.KERNEL_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # the builder sets them for good; a test must not
    monkeypatch.setenv("XRAYLIB_OFFLINE", "1")
    monkeypatch.setenv("XRAYLIB_HOME", str(tmp_path / "home"))
    (tmp_path / "package").mkdir()
    monkeypatch.setattr(freshness, "PACKAGE", tmp_path / "package")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book").mkdir()
    shutil.copy(build.ROOT / "_config.yml", tmp_path)
    shutil.copy(build.ROOT / "book/references.bib", tmp_path / "book")
    shutil.copytree(build.ROOT / "book/assets", tmp_path / "book/assets")
    (tmp_path / "book/index.md").write_text(FIRST_PAGE)
    (tmp_path / "book/_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n"
        "  - file: notebooks/01_first\n  - file: notebooks/02_second\n"
    )
    write_notebook(tmp_path, "01_first", GOOD)
    write_notebook(tmp_path, "02_second", GOOD)
    return tmp_path


def printed(root, name) -> str:
    """What the code cells of a built chapter printed."""
    cells = nbformat.read(root / f"book/notebooks/{name}.ipynb", as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.slow
def test_two_builds_in_a_row(root, capsys):
    for _ in range(2):
        assert build.main(["--profile", "real"], root) == 0
        assert "index.html" in capsys.readouterr().out
    page = (root / "book/_build/html/notebooks/01_first.html").read_text("utf8")
    assert "Run with the profile <strong>real</strong>" in page
    assert "profile <code" in (root / "book/_build/html/index.html").read_text("utf8")
    assert "Chapter 02_second" in (root / "book/_build/html/index.html").read_text("utf8")


@pytest.mark.slow
def test_a_warning_stops_the_build(root, capsys):
    (root / "book/index.md").write_text("# Book\n\n{ref}`nowhere`\n")
    assert build.main([], root) == 1
    assert "jupyter-book failed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_notebook_runs_in_its_own_folder_on_this_python(root):
    build.execute_all(root, "real", None)
    profile, _, python, folder = printed(root, "01_first").split()
    assert profile == "real"
    assert python == sys.executable
    assert folder == str(root / "notebooks")


@pytest.mark.slow
def test_what_the_others_decide_runs_when_they_are_done_and_again_with_each(root, monkeypatch):
    monkeypatch.setattr(build, "LAST", ("01_first",))
    table = root / "table.txt"
    write_notebook(root, "02_second", f"open({str(table)!r}, 'w').write('two')")
    write_notebook(root, "01_first", f"print(open({str(table)!r}).read())")
    build.execute_all(root, "quick", None)  # of which the last begins first, but for this one
    assert printed(root, "01_first").strip() == "two"
    write_notebook(root, "02_second", f"open({str(table)!r}, 'w').write('three')")
    build.execute_all(root, "quick", None)
    assert printed(root, "01_first").strip() == "three"


@pytest.mark.slow
def test_quick_chapters_run_beside_each_other_and_share_the_cores(root):
    code = f"import os\nprint(*[os.environ[name] for name in {build.THREADS}])"
    for name in ("01_first", "02_second"):
        write_notebook(root, name, code)
    build.execute_all(root, "quick", None)
    half = str(max(1, os.cpu_count() // 2))
    assert printed(root, "01_first").split() == [half] * len(build.THREADS)
    build.execute_all(root, "report", None)
    assert printed(root, "01_first").split() == [str(os.cpu_count())] * len(build.THREADS)


@pytest.mark.slow
def test_what_runs_a_chapter_is_gathered_at_its_end(root):
    build.execute_all(root, "real", None)
    cells = nbformat.read(root / "book/notebooks/01_first.ipynb", as_version=4).cells
    assert [cell.id for cell in cells] == ["title", "code", "machinery"]
    panel = cells[-1].source
    assert "Run with the profile **real**" in panel
    assert panel.index('PROFILE = "quick"') < panel.index('PROFILE = "real"')


def test_an_unknown_parameter_stops_before_anything_runs(root, capsys):
    write_notebook(root, "02_second", GOOD, parameters='PROFIL = "quick"')
    assert build.main([], root) == 1
    message = capsys.readouterr().err
    assert "02_second.ipynb" in message
    assert "PROFILE" in message
    assert not (root / "book/notebooks").exists()


@pytest.mark.slow
def test_a_failing_notebook_stops_the_build_and_is_left_to_look_at(root, capsys):
    write_notebook(root, "02_second", "print('so far')\nraise ValueError('no lung found')")
    assert build.main([], root) == 1
    message = capsys.readouterr().err
    assert "02_second.ipynb failed" in message
    assert "ValueError: no lung found" in message
    assert "\x1b" not in message
    assert "so far" in printed(root, "02_second.failed")
    assert sorted(path.name for path in (root / "book/notebooks").iterdir()) == [
        "01_first.ipynb",
        "02_second.failed.ipynb",
    ]
    assert not (root / "book/_build").exists()

    write_notebook(root, "02_second", GOOD)
    build.execute_all(root, "quick", "02_second")
    assert not (root / "book/notebooks/02_second.failed.ipynb").exists()


@pytest.mark.slow
def test_a_killed_kernel_is_reported(root, capsys):
    write_notebook(root, "01_first", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert build.main([], root) == 1
    message = capsys.readouterr().err
    assert "01_first.ipynb failed" in message
    assert "Kernel died" in message
    assert (root / "book/notebooks/01_first.failed.ipynb").exists()


@pytest.mark.slow
def test_only_one_notebook_runs_again_and_profiles_never_mix(root):
    build.execute_all(root, "quick", None)
    first, second = printed(root, "01_first"), printed(root, "02_second")
    build.execute_all(root, "quick", "02_second")
    assert printed(root, "01_first") == first
    assert printed(root, "02_second") != second
    build.execute_all(root, "real", "02_second")
    assert printed(root, "01_first").startswith("real")


@pytest.mark.slow
def test_a_copy_is_kept_until_its_notebook_changes(root):
    build.execute_all(root, "quick", None)
    first, second = printed(root, "01_first"), printed(root, "02_second")
    write_notebook(root, "02_second", GOOD + " # changed")
    build.execute_all(root, "quick", None)
    assert printed(root, "01_first") == first
    assert printed(root, "02_second") != second


def test_an_unknown_notebook_is_named(root, capsys):
    assert build.main(["--only", "07_none"], root) == 1
    assert "no notebook 07_none: 01_first, 02_second" in capsys.readouterr().err


def test_notebooks_and_table_of_contents_must_agree(root):
    write_notebook(root, "03_third", GOOD)
    with pytest.raises(build.BookError, match="03_third"):
        build.sources(root)


def test_a_folder_without_a_book_is_named(tmp_path):
    with pytest.raises(build.BookError, match=tmp_path.name):
        build.sources(tmp_path)


def test_a_foreign_kernel_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "kernels/python3"
    folder.mkdir(parents=True)
    spec = {"argv": ["/opt/other/python"], "display_name": "Python 3", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(build.BookError, match="/opt/other/python"):
        build.check_kernel()


def test_a_page_keeps_twins_and_warnings_but_no_widget_state_and_no_greeting():
    twin = {build.WIDGET_VIEW: {"model_id": "1"}, "text/html": "<p>slider</p>"}
    greeting = "I0000 00:00:1795392213.090720    8219 port.cc:153] oneDNN is on.\n"
    cell = new_code_cell(
        "show()",
        outputs=[
            new_output("display_data", data=dict(twin)),
            new_output("display_data", data={build.WIDGET_VIEW: {"model_id": "2"}}),
            new_output("stream", name="stderr", text=greeting),
            new_output("stream", name="stderr", text=greeting + "UserWarning: class 2 is empty\n"),
            new_output("stream", name="stdout", text="I0000 is a code\n"),
        ],
    )
    notebook = new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    outputs = build.without_kernel(notebook).cells[0].outputs
    assert "widgets" not in notebook.metadata
    assert [output.get("data") or output.text for output in outputs] == [
        {"text/html": "<p>slider</p>"},
        "UserWarning: class 2 is empty\n",
        "I0000 is a code\n",
    ]


def test_what_is_printed_line_by_line_is_one_box():
    def stream(text, name="stdout"):
        return nbformat.v4.new_output("stream", text=text, name=name)

    shown = nbformat.v4.new_output("display_data", {"text/plain": "table"})
    outputs = [stream("a\n"), stream("b\n"), stream("!", "stderr"), stream("c"), shown, stream("d")]
    joined = build.join_prints(outputs)
    assert [output.get("text", "table") for output in joined] == ["a\nb\n", "!", "c", "table", "d"]


def test_progress_counts_cells_and_names_the_chapters_that_run():
    screen = io.StringIO()
    screen.isatty = lambda: True
    progress = build.Progress({"05_1_mismatch": 20, "06_2_concepts": 10}, screen)
    progress.every = 0
    progress.begin("05_1_mismatch", "grid", 7)
    progress.begin("06_2_concepts", "setup", 2)
    assert progress.bar.n == 9
    progress.finish("06_2_concepts")
    last = screen.getvalue().split("\r")[-1]
    assert "17 of 30 cells" in last
    assert "05_1_mismatch at grid" in last
    assert "06_2_concepts" not in last


@pytest.mark.slow
def test_a_build_tells_where_it_is(root, capsys):
    build.execute_all(root, "real", None)
    log = capsys.readouterr().err
    assert "of 6 cells" in log  # the line of the start
    assert "01_first at title" in log
    assert "6 of 6 cells" in log.splitlines()[-1]


def test_progress_speaks_while_a_long_cell_runs():
    screen, news = io.StringIO(), queue.Queue()
    progress = build.Progress({"05_1_mismatch": 20}, screen)
    progress.every = 0.05
    follower = threading.Thread(target=progress.follow, args=(news,))
    follower.start()
    news.put(("05_1_mismatch", "grid", 7))
    time.sleep(0.5)
    news.put(None)
    follower.join()
    assert "7 of 20 cells" in screen.getvalue()
    assert screen.getvalue().count("05_1_mismatch at grid") > 1


def test_a_log_gets_plain_lines_where_a_chapter_begins_or_ends():
    log, news = io.StringIO(), queue.Queue()
    told = [("01_first", "title", 0), ("02_second", "title", 0), ("01_first", "code", 2)]
    for item in (*told, ("01_first", None, None), None):
        news.put(item)
    build.Progress({"01_first": 3, "02_second": 3}, log).follow(news)
    assert [line.replace(" [00:00]", "") for line in log.getvalue().splitlines()] == [
        "0 of 6 cells, 01_first at title",
        "0 of 6 cells, 01_first at title, 02_second at title",
        "3 of 6 cells, 02_second at title",
    ]
