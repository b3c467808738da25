"""select and the set's fixed size."""

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


@pytest.mark.windows("where the set counts its sockets")
@pytest.mark.slow
@pytest.mark.parametrize("model", ["select", "select:c"])
def test_connections_for_which_the_set_has_no_room_are_refused_and_counted(server, client, model, eventually):
    """Also those that wait for room to send count; and whoever leaves makes room."""
    too_many = 10
    with server(model) as running, ExitStack() as stack:
        connections_max = running.ready["connections_max"]
        assert connections_max == 510
        connections = [
            stack.enter_context(closing(running.connect())) for _ in range(connections_max + too_many)
        ]
        for connection in connections[:connections_max]:
            assert client.exchange(connection, b"x") == b"x"
        for connection in connections[connections_max:]:
            assert connection.recv(1) == b""
        client.fill(connections[1])
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


@pytest.mark.windows("which has sets of any size")
@pytest.mark.slow
@pytest.mark.parametrize("model", ["select", "select:c"])
def test_a_set_of_its_own_has_room_for_all(server, client, model):
    """Those that are to be read from and those that are to be written to, some of each ready at once."""
    with server(model, fd_set="raw") as running, ExitStack() as stack:
        assert running.ready["connections_max"] is None
        connections = [stack.enter_context(closing(running.connect())) for _ in range(600)]
        for connection in connections[100:105]:
            client.fill(connection)
        for connection in connections[::-1]:
            if connection not in connections[100:105]:
                connection.sendall(b"ping")
        for connection in connections:
            if connection not in connections[100:105]:
                assert client.receive(connection, 4) == b"ping"
        assert running.stop()["errors"] == {}
