/* A connection at a completion port: what its completions lead to. Windows. See iocp.h. */

#if defined(_WIN32)

#include <assert.h>
#include <stdlib.h>

#include "completion/iocp.h"

/* Of I/O that is done at once: a peer that never stops sending would keep the worker. */
enum { ROUNDS_AT_ONCE = 16 };

/* --- one connection: with its lock held --------------------------------------------------------- */

/* What became of a call that starts an operation: 0, or why it didn't. */
static int started(struct connection *connection, struct operation *operation, int result)
{
    if (result == 0 && connection->server->options->skip_on_success) {
        connection->done[connection->done_count++] = operation;
        return 0;
    }
    int error = result == 0 ? 0 : WSAGetLastError();
    if (error != 0 && error != WSA_IO_PENDING)
        return error;
    connection->references++; /* whoever takes the completion has to wait for the lock first */
    return 0;
}

/* Where the system says at once how much it was. Elsewhere it is told not to: nobody would look there before
   the completion. */
static DWORD *transferred_of(const struct connection *connection, struct operation *operation)
{
    return connection->server->options->skip_on_success ? &operation->transferred : NULL;
}

static int receive(struct connection *connection, struct operation *operation)
{
    const struct serve_options *options = connection->server->options;
    bool probes = options->zero_byte_receive != 0;
    operation->mode = probes ? PROBE : RECEIVE;
    operation->overlapped = (OVERLAPPED){0};
    operation->buffer = (WSABUF){.len = probes ? 0 : options->buffer_bytes, .buf = operation->bytes};
    operation->flags = 0;
    return started(connection, operation,
                   WSARecv(connection->socket, &operation->buffer, 1, transferred_of(connection, operation),
                           &operation->flags, &operation->overlapped, NULL));
}

static int send_rest(struct connection *connection, struct operation *operation)
{
    operation->mode = SEND;
    operation->overlapped = (OVERLAPPED){0};
    return started(connection, operation,
                   WSASend(connection->socket, &operation->buffer, 1, transferred_of(connection, operation),
                           0, &operation->overlapped, NULL));
}

static int send_and_receive(struct connection *connection, struct operation *full, struct operation *into)
{
    int error = send_rest(connection, full);
    return error == 0 ? receive(connection, into) : error;
}

static int sent(struct connection *connection, struct operation *operation, DWORD transferred)
{
    if (transferred < operation->buffer.len) { /* never seen: a send is whole, or fails */
        if (transferred == 0)
            return WSAECONNABORTED;
        operation->buffer.buf += transferred;
        operation->buffer.len -= transferred;
        return connection->is_cancelled ? 0 : send_rest(connection, operation);
    }
    struct operation *full = connection->received;
    if (full == NULL) {
        connection->idle = operation;
        return 0;
    }
    connection->received = NULL;
    return connection->is_closing ? 0 : send_and_receive(connection, full, operation);
}

static int received(struct connection *connection, struct operation *operation, DWORD transferred)
{
    operation->buffer = (WSABUF){.len = transferred, .buf = operation->bytes};
    struct operation *into = connection->idle;
    if (into == NULL) {
        assert(connection->received == NULL);
        connection->received = operation; /* the other buffer is still being sent */
        return 0;
    }
    connection->idle = NULL;
    return send_and_receive(connection, operation, into);
}

/* The next step of a connection whose `operation` has succeeded: 0, or what went wrong. */
static int advance(struct connection *connection, struct operation *operation, DWORD transferred)
{
    if (operation->mode == SEND)
        return sent(connection, operation, transferred);
    if (connection->is_closing)
        return 0;
    if (operation->mode == PROBE) {
        int64_t count =
            socket_receive(connection->socket, operation->bytes, connection->server->options->buffer_bytes);
        if (count < 0) /* nothing there after all */
            return socket_error() == WOULD_BLOCK ? receive(connection, operation) : socket_error();
        transferred = (DWORD)count;
    }
    if (transferred > 0)
        return received(connection, operation, transferred);
    connection->is_closing = true; /* end of the stream; a send in flight still completes */
    return 0;
}

void connection_cancel(struct connection *connection)
{
    connection->is_closing = connection->is_cancelled = true;
    (void)CancelIoEx((HANDLE)connection->socket,
                     NULL); /* ERROR_NOT_FOUND: all of it has completed meanwhile */
}

/* After a step that ended with `error` or 0: handle what was done at once, after some rounds by a packet, so
   that others get a turn. */
static void settle(struct connection *connection, int error)
{
    for (int i = 0; error == 0 && connection->done_count > 0 && i < ROUNDS_AT_ONCE; i++) {
        struct operation *operation = connection->done[--connection->done_count];
        error = advance(connection, operation, operation->transferred);
    }
    while (error == 0 && connection->done_count > 0) {
        struct operation *operation = connection->done[--connection->done_count];
        error = server_post(connection->server, operation->transferred, (ULONG_PTR)connection,
                            &operation->overlapped);
        if (error == 0)
            connection->references++;
    }
    if (error == 0)
        return;
    if (!connection->is_closing)
        server_failed(connection->server, error);
    connection->done_count = 0; /* nobody will hear of them any more */
    connection_cancel(connection);
}

/* --- opening and closing ------------------------------------------------------------------------ */

static void close_connection(struct connection *connection)
{
    struct server *server = connection->server;
    lock(&server->lock);
    connection->previous->next = connection->next;
    connection->next->previous = connection->previous;
    server->open_count--;
    struct acceptor *acceptor = server->parked;
    if (acceptor != NULL)
        server->parked = acceptor->parked;
    unlock(&server->lock);
    socket_close(connection->socket);
    free(connection);
    if (acceptor != NULL) /* what the connection held may be what an accept lacked */
        acceptor_start(acceptor);
}

/* Let go of the caller's reference, with the lock released. */
static void release(struct connection *connection)
{
    if (atomic_fetch_sub(&connection->references, 1) == 1)
        close_connection(connection);
}

void connection_completed(struct connection *connection, struct operation *operation, DWORD transferred,
                          bool has_failed)
{
    lock(&connection->lock);
    if (!has_failed)
        settle(connection, advance(connection, operation, transferred));
    else if (!connection->is_closing) /* otherwise it was cancelled */
        settle(connection, operation_error(connection->socket, &operation->overlapped));
    unlock(&connection->lock);
    release(connection);
}

/* Have the socket's completions come to the port: 0 or the system's error code. */
static int associate(struct connection *connection)
{
    struct server *server = connection->server;
    HANDLE handle = (HANDLE)connection->socket;
    if (CreateIoCompletionPort(handle, server->port, (ULONG_PTR)connection, 0) == NULL)
        return (int)GetLastError();
    UCHAR modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
    if (server->options->skip_on_success && !SetFileCompletionNotificationModes(handle, modes))
        return (int)GetLastError();
    return 0;
}

void connection_open(struct server *server, socket_t accepted)
{
    size_t buffer_bytes = server->options->buffer_bytes;
    struct connection *connection = malloc(sizeof *connection + 2 * buffer_bytes);
    if (connection == NULL) {
        server_failed(server, OUT_OF_MEMORY);
        socket_close(accepted);
        return;
    }
    char *buffers = (char *)(connection + 1);
    struct connection *head = &server->connections;
    *connection = (struct connection){
        .operations = {{.bytes = buffers}, {.bytes = buffers + buffer_bytes}},
        .references = 1, /* this thread's */
        .server = server,
        .next = head,
        .socket = accepted,
        .lock = LOCK_INITIALIZER,
        .idle = &connection->operations[1],
    };
    lock(&server->lock);
    connection->previous = head->previous;
    head->previous->next = connection;
    head->previous = connection;
    count_accepted(server->counters, ++server->open_count);
    unlock(&server->lock);
    lock(&connection->lock);
    int error = associate(connection);
    settle(connection, error != 0 ? error : receive(connection, &connection->operations[0]));
    unlock(&connection->lock);
    release(connection);
}

#endif
