"""Models that stand on a library: there with it, and without it they say how to get it."""

import importlib.util
import json
import subprocess
import sys

import pytest

from servers import arguments
from servers.registry import MODELS

LIBRARIES = ["anyio", "gevent", "tornado", "trio", "twisted"]
CURE = "pip install 'iocpbench[libraries]'"


@pytest.mark.linux("where the extra is installed for the tests")
@pytest.mark.parametrize("name", LIBRARIES)
def test_with_its_library_it_runs(run, needs, name):
    """The conformance suite runs over what is there: this says when something isn't."""
    needs(name, importlib.util.find_spec(name) is not None, CURE)
    ready, stopped = map(json.loads, run(name).stdout.splitlines())
    assert (ready["event"], ready["model"], stopped["event"]) == ("ready", name, "stopped")


@pytest.mark.linux("uvloop")
@pytest.mark.parametrize("name", ["asyncio_streams", "asyncio_protocol", "asyncio_sockets"])
def test_uvloop_runs_both_asyncio_models(run, needs, name):
    needs("uvloop", importlib.util.find_spec("uvloop") is not None, CURE)
    assert json.loads(run(name, "--loop", "uvloop").stdout.splitlines()[0])["event"] == "ready"


@pytest.mark.linux("a peer's reset is reported there by poll alone, while its socket isn't read")
@pytest.mark.parametrize("reactor", ["epoll", "poll", "select", "asyncio"])
def test_twisted_names_a_reset_that_it_did_not_read(server, client, eventually, needs, reactor):
    """Twisted itself doesn't ask what happened."""
    needs("twisted", importlib.util.find_spec("twisted") is not None, CURE)
    with server("twisted", reactor=reactor) as running:
        connection = running.connect()
        assert client.exchange(connection, b"x") == b"x"
        connected = running.descriptor_count()
        client.fill(connection)  # until it reads no more, and waits for room to write
        client.reset(connection)
        eventually(lambda: running.descriptor_count() < connected)
        assert running.stop()["errors"] == {"ECONNRESET": 1}


@pytest.mark.linux
def test_a_reactor_of_windows(run):
    done = run("twisted", "--reactor", "iocp")
    assert (done.returncode, done.stderr) == (3, "")
    reason = json.loads(done.stdout)["reason"]
    assert reason == "the reactor iocp belongs to Windows: run it there, or use --reactor epoll"


@pytest.mark.windows
@pytest.mark.parametrize("reactor", ["epoll", "poll"])
def test_a_reactor_of_linux(run, reactor):
    done = run("twisted", "--reactor", reactor)
    assert (done.returncode, done.stderr) == (3, "")
    reason = json.loads(done.stdout)["reason"]
    assert reason == f"the reactor {reactor} belongs to Linux: run it there, or use --reactor iocp"


@pytest.mark.parametrize("name", LIBRARIES)
def test_without_its_library_it_says_how_to_get_it(monkeypatch, name):
    module = MODELS[name].load()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    reason = module.unavailable_reason(arguments.defaults(MODELS[name]))
    assert reason == f"{name} isn't installed: pip install {name}, or uv run --extra libraries"


def test_the_list_imports_no_library(run):
    """It is asked for before every run, which would pay for what takes its time to import."""
    code = "import servers.process, sys; servers.process.list_models(); "
    code += f"assert not {{{', '.join(map(repr, LIBRARIES))}}} & set(sys.modules), sys.modules.keys()"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
