/* Accepts that are started ahead and complete at a port. Windows. The twin of acceptex.py. */

#if defined(_WIN32)

#include "completion/iocp.h"

/* Count the accepts in flight; before one is started, since it may complete at once. */
static void accepts_in_flight(struct server *server, int change)
{
    lock(&server->lock);
    server->accepts_in_flight += (uint32_t)change;
    unlock(&server->lock);
}

/* Wait for the end of a connection; where there is none, for a moment, and try again. */
static void acceptor_park(struct acceptor *acceptor)
{
    struct server *server = acceptor->server;
    lock(&server->lock);
    bool waits = server->open_count > 0 || server->accepts_in_flight > 0;
    if (waits) {
        acceptor->parked = server->parked;
        server->parked = acceptor;
    } else {
        server->accepts_in_flight++;
    }
    unlock(&server->lock);
    if (waits)
        return;
    do {
        pause_for_a_moment(server->stop);
        /* By a packet: in a call of its own it would be a recursion without an end. */
    } while (server_post(server, 0, LISTENER_KEY, &acceptor->overlapped) != 0 && !server->is_stopping);
}

static int ask_for_a_connection(struct acceptor *acceptor)
{
    struct server *server = acceptor->server;
    acceptor->socket = WSASocketW(server->family, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                                  WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (acceptor->socket == NO_SOCKET)
        return WSAGetLastError();
    acceptor->overlapped = (OVERLAPPED){0};
    accepts_in_flight(server, 1);
    if (server->accept_ex(server->listener, acceptor->socket, acceptor->addresses, 0, ADDRESS_BYTES,
                          ADDRESS_BYTES, &acceptor->received, &acceptor->overlapped))
        return 0;
    int error = WSAGetLastError();
    if (error == WSA_IO_PENDING)
        return 0;
    accepts_in_flight(server, -1);
    socket_close(acceptor->socket);
    acceptor->socket = NO_SOCKET;
    return error;
}

void acceptor_start(struct acceptor *acceptor)
{
    struct server *server = acceptor->server;
    if (server->is_stopping)
        return;
    int error = ask_for_a_connection(acceptor); /* where that is 0, it may be another thread's already */
    if (error != 0) {
        server_failed(server, error);
        acceptor_park(acceptor);
    }
}

/* Make a connection of a socket that the system has connected: 0 or the system's error code. */
static int connected(struct server *server, socket_t accepted)
{
    if (setsockopt(accepted, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (const char *)&server->listener,
                   sizeof server->listener) != 0)
        return WSAGetLastError();
    return socket_set_options(accepted, false);
}

void acceptor_completed(struct acceptor *acceptor, bool has_failed)
{
    struct server *server = acceptor->server;
    socket_t accepted = acceptor->socket;
    acceptor->socket = NO_SOCKET;
    accepts_in_flight(server, -1);
    int error = 0;
    if (accepted != NO_SOCKET && server->is_stopping) { /* cancelled, or too late */
        socket_close(accepted);
    } else if (accepted != NO_SOCKET) {
        error = has_failed ? operation_error(server->listener, &acceptor->overlapped)
                           : connected(server, accepted);
        if (error != 0) { /* reset meanwhile */
            server_failed(server, error);
            socket_close(accepted);
        } else {
            connection_open(server, accepted);
        }
    }
    if (has_failed && is_exhausted(error))
        acceptor_park(acceptor);
    else
        acceptor_start(acceptor);
}

int acceptors_start(struct server *server)
{
    GUID which = WSAID_ACCEPTEX;
    DWORD bytes;
    struct sockaddr_storage address;
    int length = sizeof address;
    if (WSAIoctl(server->listener, SIO_GET_EXTENSION_FUNCTION_POINTER, &which, sizeof which,
                 &server->accept_ex, sizeof server->accept_ex, &bytes, NULL, NULL) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &length) != 0)
        return WSAGetLastError();
    if (CreateIoCompletionPort((HANDLE)server->listener, server->port, LISTENER_KEY, 0) == NULL)
        return (int)GetLastError();
    server->family = address.ss_family;
    for (int i = 0; i < ACCEPTS_AHEAD; i++) {
        server->acceptors[i] = (struct acceptor){.server = server, .socket = NO_SOCKET};
        acceptor_start(&server->acceptors[i]);
    }
    return 0;
}

#endif
