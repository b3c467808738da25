"""select and the bitmap's fixed size."""

from contextlib import ExitStack, closing

import pytest


@pytest.mark.linux("where descriptors have numbers")
@pytest.mark.slow
def test_connections_past_fd_setsize_are_refused_and_counted(server, client, needs, eventually):
    """As many as `ready` says are served; the rest are closed; the server lives on, and doesn't spin."""
    too_many = 20
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needs("a limit of 2100 descriptors", hard >= 2100, "ulimit -Hn 4096")
    with server("select") as running, ExitStack() as stack:
        connections_max = running.ready["connections_max"]
        assert 1000 < connections_max < 1024
        connections = [
            stack.enter_context(closing(running.connect())) for _ in range(connections_max + too_many)
        ]
        for connection in connections[:connections_max]:
            connection.sendall(b"x")
        for connection in connections[:connections_max]:
            assert connection.recv(1) == b"x"
        for connection in connections[connections_max:]:
            assert connection.recv(1) == b""
        assert running.comes_to_rest(0.3), "it spins"
        before = running.descriptor_count()
        connections[0].close()
        eventually(lambda: running.descriptor_count() < before)
        with closing(running.connect()) as connection:
            assert client.exchange(connection, b"room again") == b"room again"
        stopped = running.stop()
    assert stopped["errors"] == {"FdSetsizeExceeded": too_many}
    assert stopped["connections_open_max"] == connections_max
    assert stopped["connections_accepted"] == connections_max + 1
