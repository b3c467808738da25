"""What every test may use: the suite passes everywhere, and says what a machine lacks.

A test that belongs to one system says so by `@pytest.mark.linux("why")` or `@pytest.mark.windows("why")`; the
why may be left out. Elsewhere it is skipped, also under `--require-all`: its system isn't something that a
machine lacks.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SYSTEMS = {"linux": "linux", "windows": "win32"}  # marker, sys.platform


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--require-all`: a machine that lacks something fails the tests that need it, instead of skipping."""
    parser.addoption(
        "--require-all", action="store_true", help="fail where a browser, compiler or Wine is missing"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what belongs to another system."""
    for item in items:
        for name, platform in SYSTEMS.items():
            mark = item.get_closest_marker(name)
            if mark and sys.platform != platform:
                reason = ": ".join([f"belongs to {name.capitalize()}", *mark.args])
                item.add_marker(pytest.mark.skip(reason=reason))


def _require(config: pytest.Config, what: str, present: bool, cure: str) -> None:
    if present:
        return
    end = pytest.fail if config.getoption("--require-all") else pytest.skip
    end(f"{what} is missing: {cure}")


@pytest.fixture(scope="session")
def needs(request: pytest.FixtureRequest) -> Callable[[str, bool, str], None]:
    """A call that ends the test where `present` is false: `needs("Chromium", path is not None, cure)`."""
    return lambda what, present, cure: _require(request.config, what, present, cure)


@pytest.fixture(scope="session")
def wine_python(request: pytest.FixtureRequest) -> Path:
    """The Windows Python that runs under Wine: `subprocess.run([wine_python, "-c", ...])`.

    Its stdout and stderr must be pipes, its stdin a pipe or null. It finds the packages of this checkout when
    PYTHONPATH names it as Windows does: `Z:` and the path.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    default = cache / "iocpbench" / "wine-python" / "python"
    launcher = Path(os.environ.get("IOCPBENCH_WINE_PYTHON") or default)
    _require(request.config, "Wine with a Windows Python", launcher.exists(), "bash tests/wine/setup.sh")
    return launcher
