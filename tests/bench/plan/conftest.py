"""Models as `python -m servers --list` prints them, with one of another system."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.plan.contender import Model, parse_models
from bench.plan.suite import Overrides, Suite, load

LIST = """
{"name": "epoll", "systems": ["linux"], "implementations": ["python", "c"], "available": true, "reason": null,
 "options": [{"name": "trigger", "type": "str", "default": "level", "choices": ["level", "edge"], "help": ""},
             {"name": "accepts_per_wait", "type": "int", "default": 0, "choices": null, "help": ""},
             {"name": "batch", "type": "int", "default": 1, "choices": null, "help": ""},
             {"name": "buffer_bytes", "type": "int", "default": 4096, "choices": null, "help": ""}]}
{"name": "threads", "systems": ["linux"], "implementations": ["python"], "available": true, "reason": null,
 "options": [{"name": "buffer_bytes", "type": "int", "default": 4096, "choices": null, "help": ""}]}
{"name": "iocp", "systems": ["windows"], "implementations": ["python", "c"], "available": false,
 "reason": "completion ports belong to Windows: run it there",
 "options": [{"name": "threads", "type": "int", "default": null, "choices": null, "help": ""}]}
"""


@pytest.fixture
def models() -> list[Model]:
    """epoll and threads, which run here, and iocp, which doesn't."""
    lines = LIST.replace("\n ", " ")
    return parse_models(lines)


@pytest.fixture
def suite_of(tmp_path: Path, models: list[Model]) -> Callable[..., Suite]:
    """A call that writes TOML (after `schema` and `title`) to a file, and resolves it."""

    def resolve(text: str, **overrides: object) -> Suite:
        file = tmp_path / "mine.toml"
        file.write_text(f'schema = 1\ntitle = "t"\n{text}', encoding="utf-8")
        return load(str(file), models, Overrides(**overrides))  # type: ignore[arg-type]  # of any field

    return resolve
