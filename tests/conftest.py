"""What every test may use: the suite passes everywhere, and says what a machine lacks."""

from collections.abc import Callable

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--require-all`: a machine that lacks something fails the tests that need it, instead of skipping."""
    parser.addoption(
        "--require-all", action="store_true", help="fail where a browser, compiler or system is missing"
    )


@pytest.fixture
def needs(request: pytest.FixtureRequest) -> Callable[[str, bool, str], None]:
    """A call that ends the test where `present` is false: `needs("Chromium", path is not None, cure)`."""

    def check(what: str, present: bool, cure: str) -> None:
        if present:
            return
        if request.config.getoption("--require-all"):
            pytest.fail(f"{what} is missing: {cure}")
        pytest.skip(f"{what} is missing: {cure}")

    return check
