/* Overlapped I/O with completion routines. Windows. The twin of overlapped.py, which says what sets it apart.
 */

#if defined(_WIN32)

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "completion/operation.h"
#include "native.h"
#include "threading.h"

enum { WAKE_PAUSE_MS = 10 };

/* The per-client data: a socket, a buffer, and the one operation on them. */
struct connection {
    OVERLAPPED overlapped; /* its hEvent, which completion routines leave free, leads back here */
    WSABUF buffer; /* what is to be filled or sent of `bytes` */
    DWORD flags;
    socket_t socket;
    struct server *server;
    struct connection *previous, *next;
    struct connection *waiting; /* the next one that is deferred, or handed over */
    int (*step)(struct connection *); /* what is deferred */
    bool is_in_flight;
    char *bytes; /* the buffer, which lies behind this */
};

struct queue {
    struct connection *first, **end;
};

/* All of it belongs to the thread whose routines run, but what the lock guards. */
struct server {
    socket_t listener, stop;
    struct connection connections; /* head of a ring of those that are open */
    uint64_t open_count;
    uint32_t buffer_bytes, accepts_per_wait, routines_per_wait;
    uint32_t room; /* routines that may still start I/O in this wait */
    struct queue deferred;
    HANDLE thread; /* that sleeps */
    atomic_bool is_stopping;
    lock_t lock; /* of what follows */
    struct queue handed_over;
    struct serve_counters *counters;
};

static void queue_add(struct queue *queue, struct connection *connection)
{
    connection->waiting = NULL;
    *queue->end = connection;
    queue->end = &connection->waiting;
}

/* Take all that are there: the first of them. */
static struct connection *queue_take(struct queue *queue)
{
    struct connection *first = queue->first;
    *queue = (struct queue){.end = &queue->first};
    return first;
}

static void failed(struct server *server, int error)
{
    lock(&server->lock);
    count_failed(server->counters, error);
    unlock(&server->lock);
}

static void close_connection(struct connection *connection)
{
    assert(!connection->is_in_flight);
    connection->previous->next = connection->next;
    connection->next->previous = connection->previous;
    connection->server->open_count--;
    socket_close(connection->socket);
    free(connection);
}

/* Count what went wrong, unless it is this server's own doing, and close the connection. */
static void fail(struct connection *connection, int error)
{
    if (!connection->server->is_stopping)
        failed(connection->server, error);
    close_connection(connection);
}

/* --- routines ---------------------------------------------------------------------------------- */

static void CALLBACK receive_completed(DWORD error, DWORD transferred, OVERLAPPED *overlapped, DWORD flags);
static void CALLBACK send_completed(DWORD error, DWORD transferred, OVERLAPPED *overlapped, DWORD flags);

/* What became of a call that starts an operation: 0 where its routine will run. */
static int started(struct connection *connection, int result)
{
    int error = result == 0 ? 0 : WSAGetLastError();
    if (error == WSA_IO_PENDING)
        error = 0;
    connection->is_in_flight = error == 0;
    return error;
}

static int receive(struct connection *connection)
{
    connection->overlapped = (OVERLAPPED){.hEvent = connection};
    connection->buffer = (WSABUF){.len = connection->server->buffer_bytes, .buf = connection->bytes};
    connection->flags = 0;
    return started(connection, WSARecv(connection->socket, &connection->buffer, 1, NULL, &connection->flags,
                                       &connection->overlapped, receive_completed));
}

static int send_rest(struct connection *connection)
{
    connection->overlapped = (OVERLAPPED){.hEvent = connection};
    return started(connection, WSASend(connection->socket, &connection->buffer, 1, NULL, 0,
                                       &connection->overlapped, send_completed));
}

static void take_step(struct connection *connection, int (*step)(struct connection *))
{
    int error = step(connection);
    if (error != 0)
        fail(connection, error);
}

/* Start the connection's next I/O, or do so after the next look for connections. */
static void go_on(struct connection *connection, int (*step)(struct connection *))
{
    struct server *server = connection->server;
    if (server->room > 0) {
        server->room--;
        take_step(connection, step);
    } else {
        connection->step = step;
        queue_add(&server->deferred, connection);
    }
}

static void CALLBACK receive_completed(DWORD error, DWORD transferred, OVERLAPPED *overlapped, DWORD flags)
{
    (void)flags;
    struct connection *connection = overlapped->hEvent;
    connection->is_in_flight = false;
    if (error != 0) {
        fail(connection, operation_error(connection->socket, overlapped));
    } else if (transferred == 0 || connection->server->is_stopping) { /* the end of the stream */
        close_connection(connection);
    } else {
        connection->buffer.len = transferred;
        go_on(connection, send_rest);
    }
}

static void CALLBACK send_completed(DWORD error, DWORD transferred, OVERLAPPED *overlapped, DWORD flags)
{
    (void)flags;
    struct connection *connection = overlapped->hEvent;
    connection->is_in_flight = false;
    if (error != 0) {
        fail(connection, operation_error(connection->socket, overlapped));
    } else if (connection->server->is_stopping) {
        close_connection(connection);
    } else if (transferred == connection->buffer.len) {
        go_on(connection, receive);
    } else if (transferred == 0) {
        fail(connection, WSAECONNABORTED);
    } else { /* never seen: a send is whole, or fails */
        connection->buffer.buf += transferred;
        connection->buffer.len -= transferred;
        go_on(connection, send_rest);
    }
}

static void open_connection(struct connection *connection)
{
    struct server *server = connection->server;
    struct connection *head = &server->connections;
    connection->previous = head->previous;
    connection->next = head;
    head->previous->next = connection;
    head->previous = connection;
    count_accepted(server->counters, ++server->open_count);
    take_step(connection, receive);
}

/* Serve what was handed over; in the thread that sleeps, as every routine. */
static void CALLBACK woken(ULONG_PTR argument)
{
    struct server *server = (struct server *)argument;
    if (server->is_stopping)
        return;
    lock(&server->lock);
    struct connection *next, *connection = queue_take(&server->handed_over);
    unlock(&server->lock);
    for (; connection != NULL; connection = next) {
        next = connection->waiting;
        open_connection(connection);
    }
}

/* --- accepting --------------------------------------------------------------------------------- */

/* Accept one connection: NULL where there is none, or none that can be served. */
static struct connection *accept_one(struct server *server)
{
    socket_t accepted;
    int error = socket_accept(server->listener, false, &accepted);
    if (error == WOULD_BLOCK)
        return NULL;
    if (error != 0) {
        failed(server, error);
        pause_if_exhausted(error, server->stop);
        return NULL;
    }
    struct connection *connection = calloc(1, sizeof *connection + server->buffer_bytes);
    if (connection == NULL) {
        failed(server, OUT_OF_MEMORY);
        socket_close(accepted);
        return NULL;
    }
    connection->server = server;
    connection->socket = accepted;
    connection->bytes = (char *)(connection + 1);
    return connection;
}

static void accept_those_there(struct server *server, void take(struct connection *))
{
    for (uint32_t i = 0; i < server->accepts_per_wait; i++) {
        struct connection *connection = accept_one(server);
        if (connection == NULL)
            return;
        take(connection);
    }
}

/* Have the sleeping thread run `woken`; try again where the system has nothing to give for that. */
static void wake(struct server *server)
{
    while (!QueueUserAPC(woken, server->thread, (ULONG_PTR)server)) {
        failed(server, (int)GetLastError());
        Sleep(WAKE_PAUSE_MS); /* also once it is to stop: the thread has to hear of that */
    }
}

static void hand_over(struct connection *connection)
{
    struct server *server = connection->server;
    lock(&server->lock);
    queue_add(&server->handed_over, connection);
    unlock(&server->lock);
    wake(server);
}

/* In another thread: accept, and hand over to the one whose routines serve the connections. */
static DWORD WINAPI accept_for_it(void *argument)
{
    struct server *server = argument;
    struct pollfd watched[] = {{.fd = server->listener, .events = READABLE},
                               {.fd = server->stop, .events = READABLE}};
    while (socket_poll(watched, 2, -1) >= 0 && watched[1].revents == 0)
        accept_those_there(server, hand_over);
    server->is_stopping = true;
    wake(server);
    return 0;
}

/* In another thread: wake the one that sleeps once it is to stop. */
static DWORD WINAPI wait_for_the_stop(void *argument)
{
    struct server *server = argument;
    wait_for(server->stop);
    server->is_stopping = true;
    wake(server);
    return 0;
}

/* --- the loop ---------------------------------------------------------------------------------- */

/* Accept and sleep in turns until told to stop. */
static void run(struct server *server, bool alternates, DWORD timeout_ms)
{
    while (!server->is_stopping) {
        if (alternates)
            accept_those_there(server, open_connection);
        server->room = server->routines_per_wait;
        struct connection *next, *connection = queue_take(&server->deferred);
        for (; connection != NULL; connection = next) {
            next = connection->waiting;
            take_step(connection, connection->step);
        }
        (void)SleepEx(timeout_ms, TRUE);
    }
}

/* Cancel what is in flight and wait until its routines have run; false where some don't. */
static bool close_all(struct server *server)
{
    struct connection *next, *connection = queue_take(&server->handed_over);
    for (; connection != NULL; connection = next) {
        next = connection->waiting;
        socket_close(connection->socket);
        free(connection);
    }
    for (connection = server->connections.next; connection != &server->connections; connection = next) {
        next = connection->next;
        if (connection->is_in_flight)
            (void)CancelIoEx((HANDLE)connection->socket,
                             NULL); /* ERROR_NOT_FOUND: it has completed meanwhile */
        else
            close_connection(connection);
    }
    ULONGLONG deadline_ms = GetTickCount64() + STOP_TIMEOUT_MS;
    while (server->open_count > 0 && GetTickCount64() < deadline_ms)
        (void)SleepEx(STOP_POLL_MS, TRUE);
    (void)SleepEx(0, TRUE); /* a call of `woken` that is still queued */
    return server->open_count == 0;
}

EXPORT int serve_overlapped(socket_t listener, socket_t stop, const struct serve_options *options,
                            struct serve_counters *counters)
{
    bool alternates = options->accept == ACCEPT_ALTERNATING;
    struct server server = {
        .listener = listener,
        .stop = stop,
        .connections = {.previous = &server.connections, .next = &server.connections},
        .buffer_bytes = options->buffer_bytes,
        .accepts_per_wait = options->accepts_per_wait != 0 ? options->accepts_per_wait : UINT32_MAX,
        .routines_per_wait = options->routines_per_wait != 0 ? options->routines_per_wait : UINT32_MAX,
        .deferred.end = &server.deferred.first,
        .lock = LOCK_INITIALIZER,
        .handed_over.end = &server.handed_over.first,
        .counters = counters,
    };
    int error = socket_set_blocking(listener, false);
    if (error != 0)
        return error;
    server.thread = OpenThread(THREAD_SET_CONTEXT, FALSE, GetCurrentThreadId());
    if (server.thread == NULL)
        return (int)GetLastError();
    HANDLE helper = CreateThread(NULL, 0, alternates ? wait_for_the_stop : accept_for_it, &server, 0, NULL);
    if (helper == NULL) {
        error = (int)GetLastError();
    } else {
        run(&server, alternates, alternates ? options->accept_poll_ms : INFINITE);
        bool has_ended = join(helper);
        error = close_all(&server) && has_ended ? 0 : TIMED_OUT;
    }
    (void)CloseHandle(server.thread);
    return error;
}

#endif
