"""Every notebook runs on the reference runs and shows what it was saved with."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.schema import Record
from bench.records.store import RunFolder

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTE = ROOT / "notebooks" / "execute.py"
Needs = Callable[[str, bool, str], None]
MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]

pytestmark = pytest.mark.slow


def execute(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, EXECUTE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


@pytest.fixture(autouse=True)
def jupyter(needs: Needs) -> None:
    lacks = [name for name in ("nbclient", "ipykernel") if importlib.util.find_spec(name) is None]
    needs("Jupyter", not lacks, "uv run --group notebooks --group test pytest")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_shows_what_it_was_saved_with(notebook: Path) -> None:
    done = execute("--check", notebook)
    assert done.returncode == 0, f"{done.stderr}\nuv run --group notebooks python notebooks/execute.py"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_was_saved_with_its_outputs(notebook: Path) -> None:
    import nbformat

    saved = nbformat.read(notebook, as_version=4)
    nbformat.validate(saved)
    outputs = [output for cell in saved.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert all(len(output.data["image/png"]) < 300_000 for output in pictures)
    assert notebook.stat().st_size < 1_000_000


def written(path: Path, *sources: str) -> Path:
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    cells = [new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_outputs_are_kept_and_compared(tmp_path: Path) -> None:
    notebook = written(tmp_path / "one.ipynb", "value = 6", "value * 7")
    assert execute("--check", notebook).returncode == 1
    assert execute(notebook).returncode == 0
    assert execute("--check", notebook).returncode == 0
    saved = notebook.read_text(encoding="utf-8")
    assert execute(notebook).returncode == 0
    assert notebook.read_text(encoding="utf-8") == saved
    notebook.write_text(saved.replace("value * 7", "value * 8"), encoding="utf-8")
    done = execute("--check", notebook)
    assert (done.returncode, "cell 2 shows another output" in done.stderr) == (1, True)


def test_a_cell_with_an_error_fails(tmp_path: Path) -> None:
    notebook = written(tmp_path / "one.ipynb", "1 / 0")
    before = notebook.read_bytes()
    done = execute(notebook)
    assert (done.returncode, "ZeroDivisionError" in done.stderr) == (1, True)
    assert notebook.read_bytes() == before


def test_a_chart_is_shown_as_a_picture(make_records: MakeRecords, make_run: MakeRun, tmp_path: Path) -> None:
    import nbformat

    run = make_run(make_records({"epoll": 4000, "poll": 5000}, connections=(10, 100), repeats=2))
    source = f'import bench\nbench.charts({str(run.path)!r})["connections-response_time"]'
    notebook = written(tmp_path / "one.ipynb", source)
    assert execute(notebook).returncode == 0
    (output,) = nbformat.read(notebook, as_version=4).cells[0].outputs
    assert set(output.data) == {"image/png", "text/plain"}
