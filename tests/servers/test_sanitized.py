"""The servers in C under the address, leak and undefined-behaviour sanitizers, with clients of every kind.

Sanitizers have no runtime under Wine: what belongs to Windows is in tests/wine/test_guarded.py instead.
"""

import errno
import functools
import random
import shutil
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.linux("sanitizers")
HERE = Path(__file__).parent
SERVERS = HERE.parents[1] / "servers"
FLAGS = [
    *("-std=c11", "-g", "-O1", "-D_GNU_SOURCE", "-pthread"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
]


CURE = "apt-get install gcc libasan8 libubsan1"


@pytest.fixture(scope="module")
def compile_sanitized(tmp_path_factory):
    """Compiles C files to a program, `compile_sanitized(*sources)`; None where no compiler has sanitizers."""
    folder = tmp_path_factory.mktemp("sanitized")
    empty = folder / "empty.c"
    empty.write_text("int main(void) { return 0; }")

    def command(compiler, *sources):
        program = folder / Path(sources[0]).stem
        return program, [compiler, *FLAGS, "-I", SERVERS, *sources, "-o", program]

    def compile_with(compiler, *sources):
        program, arguments = command(compiler, *sources)
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return program

    for compiler in filter(None, map(shutil.which, ("gcc", "clang"))):
        # Without the sanitizers' libraries even an empty program doesn't link.
        if subprocess.run(command(compiler, empty)[1], capture_output=True, check=False).returncode == 0:
            return functools.partial(compile_with, compiler)
    return None


@pytest.fixture(scope="module")
def driver(compile_sanitized):
    """All servers in C, with a main function around them."""
    if compile_sanitized is None:
        return None
    folders = ("readiness", "blocking", "completion")
    return compile_sanitized(
        HERE / "driver.c", *(path for folder in folders for path in (SERVERS / folder).glob("*.c"))
    )


SERVED = ["epoll", "epoll edge", "poll", "select", "threads"]
RINGS = ["io_uring", "io_uring multishot", "io_uring multishot large", "io_uring plain", "io_uring sqpoll"]


@pytest.fixture(params=[*SERVED, *RINGS])
def command(driver, needs, request):
    """How a server is started."""
    needs("a compiler with sanitizers", driver is not None, CURE)
    if request.param in RINGS:
        kernel_can(request.param, needs)
    return [str(driver), *request.param.split()]


def kernel_can(words, needs):
    """Ask the twin in Python, which knows why not."""
    from servers.completion import io_uring
    from servers.contract import Options

    setup = next((word for word in words.split() if word in io_uring.SETUPS), "defer_taskrun")
    reason = io_uring.unavailable_reason(Options(setup=setup, multishot="multishot" in words))
    needs("io_uring", reason is None, reason)


@pytest.fixture
def sanitized(command, process):
    """A running server; at the end it has stopped in order, and no sanitizer has complained."""
    with process(command) as running:
        yield running


@pytest.mark.slow
def test_the_sanitizers_see_a_fault(compile_sanitized, needs, tmp_path):
    """A use after free ends a program that is built the same way."""
    needs("a compiler with sanitizers", compile_sanitized is not None, CURE)
    source = tmp_path / "fault.c"
    source.write_text(
        "#include <stdlib.h>\nint main(void) { char *p = malloc(1); free(p); return *(volatile char *)p; }"
    )
    done = subprocess.run([compile_sanitized(source)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "heap-use-after-free" in done.stderr


@pytest.mark.slow
def test_echo(sanitized, client):
    message = random.Random(5).randbytes(1 << 20)
    with ExitStack() as stack:
        for size in (1, 4095, 4096, 4097, len(message)):
            connection = stack.enter_context(closing(sanitized.connect()))
            assert client.exchange(connection, message[:size]) == message[:size]


@pytest.mark.slow
def test_resets(sanitized, client):
    """Before they are accepted, after an echo, and with bytes unsent."""
    for _ in range(100):
        client.reset(sanitized.connect())
    for _ in range(50):
        connection = sanitized.connect()
        assert client.exchange(connection, b"x") == b"x"
        client.reset(connection)
    for _ in range(5):
        connection = sanitized.connect()
        client.fill(connection)
        client.reset(connection)
    with closing(sanitized.connect()) as connection:
        assert client.exchange(connection, b"x") == b"x"
    stopped = sanitized.stop()
    assert stopped["connections_accepted"] == 156
    assert stopped["errors"].keys() <= {str(errno.ECONNRESET), str(errno.EPIPE)}
    assert sum(stopped["errors"].values()) >= 55


@pytest.mark.slow
def test_half_close(sanitized):
    message = random.Random(6).randbytes(8 << 20)
    with closing(sanitized.connect()) as connection:
        sender = threading.Thread(
            target=lambda: (connection.sendall(message), connection.shutdown(socket.SHUT_WR))
        )
        sender.start()
        time.sleep(0.2)
        with connection.makefile("rb") as received:
            assert received.read() == message
        sender.join()


@pytest.mark.slow
def test_a_writer_that_never_reads_is_still_there_at_the_end(sanitized, client):
    """What it left unsent is freed when the server stops."""
    with closing(sanitized.connect()) as connection:
        client.fill(connection)
        assert sanitized.stop()["errors"] == {}


@pytest.mark.slow
def test_many_that_never_read(sanitized, client):
    """Of what io_uring's connections share they leave nothing: the others have buffers of their own then."""
    with ExitStack() as stack:
        stuck = [stack.enter_context(closing(sanitized.connect())) for _ in range(40)]
        for connection in stuck:
            client.fill(connection)
        for connection in stuck[:10]:
            client.reset(connection)
        for _ in range(10):
            with closing(sanitized.connect()) as connection:
                assert client.exchange(connection, bytes(10_000)) == bytes(10_000)
        stopped = sanitized.stop()
    assert stopped["connections_accepted"] == 50
    assert stopped["errors"].keys() <= {str(errno.ECONNRESET), str(errno.EPIPE)}


@pytest.mark.slow
def test_without_descriptors(command, process, client):
    limited = ["sh", "-c", 'ulimit -n 20; exec "$@"', "sh", *command]
    with process(limited) as sanitized, ExitStack() as stack:
        connections = [stack.enter_context(closing(sanitized.connect())) for _ in range(40)]
        time.sleep(0.1)
        assert client.exchange(connections[0], b"x") == b"x"
        for connection in connections[:30]:
            connection.close()
        assert client.exchange(connections[-1], b"x") == b"x"
        assert sanitized.stop()["errors"].keys() == {str(errno.EMFILE)}
