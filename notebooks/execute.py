"""Run the notebooks and keep what they show: `uv run --group notebooks python notebooks/execute.py`.

Names of files leave the others out. `--check` writes nothing: a notebook fails that has a cell with an error,
or doesn't show what it was saved with. Pictures are compared by their being there, all else by its text.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parent
TIMEOUT_S = 300  # of a cell: the slowest takes seconds


def main() -> int:
    """Execute or check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="notebooks, by default all")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; 1 where one doesn't show the same"
    )
    options = parser.parse_args()
    failures = []
    for path in options.files or sorted(FOLDER.glob("*.ipynb")):
        kept = nbformat.read(path, as_version=4)
        try:
            fresh = executed(path)
        except CellExecutionError as error:
            failures.append(f"{path.name}: {error}")
            continue
        if options.check:
            failures += [f"{path.name}: {difference}" for difference in differences(kept, fresh)]
        else:
            nbformat.write(fresh, path)
    print("\n".join(failures), file=sys.stderr)
    return 1 if failures else 0


def executed(path: Path) -> Any:
    """The notebook with what its cells show now. Raises CellExecutionError where one has an error."""
    notebook = nbformat.read(path, as_version=4)
    # Times would change with every execution.
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, record_timing=False, resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute()
    return notebook


def differences(kept: Any, fresh: Any) -> Iterator[str]:
    """What a notebook no longer shows as it was saved."""
    for number, (before, after) in enumerate(zip(kept.cells, fresh.cells, strict=True), 1):
        if before.cell_type == "code" and shown(before) != shown(after):
            yield f"cell {number} shows another output than it was saved with"


def shown(cell: Any) -> list[dict[str, str]]:
    """Of each output of a code cell its text, by type; of a picture that there is one."""
    return [
        {
            kind: "a picture" if kind.startswith("image/") else str(content)
            for kind, content in output.get("data", {"text/plain": output.get("text", "")}).items()
        }
        for output in cell.outputs
    ]


if __name__ == "__main__":
    sys.exit(main())
