"""Runs with a known truth, which tests/bench makes."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parents[1] / "bench" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("runs_with_a_known_truth", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_module = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_module)

make_records = _module.make_records
make_run = _module.make_run
