/* A thread for each connection. Every system. The twin of threads.py, which says what sets it apart. */

#include <stdbool.h>
#include <stdlib.h>

#include "native.h"
#include "threading.h"

enum {
    STACK_BYTES = 256 * 1024, /* as in Python, so that memory may be compared */
    SHUTDOWN_TIMEOUT_MS = 2000,
    STOP_TIMEOUT_MS = 5000, /* closed connections let go of their threads within milliseconds */
};

struct connection {
    struct server *server;
    struct connection *previous, *next;
    socket_t socket;
};

struct server {
    lock_t lock; /* of all that follows */
    condition_t closed;
    struct serve_counters *counters;
    struct connection connections; /* head of a ring of those that are open */
    uint64_t open_count;
    uint32_t buffer_bytes;
    bool is_stopping;
};

/* Give all of it to the peer; blocks until it has been taken: 0 or the system's error code. */
static int send_all(socket_t socket, const char *data, size_t data_bytes)
{
    while (data_bytes > 0) {
        int64_t sent = socket_send(socket, data, data_bytes);
        if (sent < 0 && socket_error() != INTERRUPTED)
            return socket_error();
        if (sent > 0) {
            data += sent;
            data_bytes -= (size_t)sent;
        }
    }
    return 0;
}

/* Send back what comes until the peer has ended: 0 or the system's error code. */
static int echo(socket_t socket, char *buffer, size_t buffer_bytes)
{
    for (;;) {
        int64_t received = socket_receive(socket, buffer, buffer_bytes);
        if (received == 0)
            return 0;
        if (received < 0) {
            if (socket_error() != INTERRUPTED)
                return socket_error();
            continue;
        }
        int error = send_all(socket, buffer, (size_t)received);
        if (error != 0)
            return error;
    }
}

/* With the lock held: whoever stops must not shut down a descriptor that is another's by then. */
static void close_connection(struct connection *connection)
{
    struct server *server = connection->server;
    connection->previous->next = connection->next;
    connection->next->previous = connection->previous;
    if (connection->socket != NO_SOCKET)
        socket_close(connection->socket);
    free(connection);
    if (--server->open_count == 0)
        condition_signal(&server->closed);
}

static thread_result_t run_connection(void *argument)
{
    struct connection *connection = argument;
    struct server *server = connection->server;
    char *buffer = malloc(server->buffer_bytes);
    int error = buffer != NULL ? echo(connection->socket, buffer, server->buffer_bytes) : OUT_OF_MEMORY;
    free(buffer);
    lock(&server->lock);
    if (error != 0 && !server->is_stopping) /* otherwise it is this server's own doing */
        count_failed(server->counters, error);
    close_connection(connection);
    unlock(&server->lock);
    return 0;
}

/* Serve an accepted socket in a thread of its own: 0, or the error code where there is none to be had. */
static int start_connection(struct server *server, socket_t accepted)
{
    struct connection *connection = calloc(1, sizeof *connection);
    lock(&server->lock);
    int error = OUT_OF_MEMORY;
    if (connection == NULL) {
        socket_close(accepted);
    } else {
        *connection = (struct connection){
            .server = server,
            .previous = server->connections.previous,
            .next = &server->connections,
            .socket = accepted,
        };
        connection->previous->next = connection;
        connection->next->previous = connection;
        count_accepted(server->counters, ++server->open_count);
        error = thread_start(run_connection, connection, STACK_BYTES);
        if (error != 0)
            close_connection(connection);
    }
    if (error != 0)
        count_failed(server->counters, error);
    unlock(&server->lock);
    return error;
}

/* Accept until `stop` becomes readable: 0 or the system's error code. */
static int accept_all(struct server *server, socket_t listener, socket_t stop)
{
    struct pollfd watched[] = {{.fd = listener, .events = READABLE}, {.fd = stop, .events = READABLE}};
    for (;;) {
        if (socket_poll(watched, 2, -1) < 0) {
            if (socket_error() != INTERRUPTED)
                return socket_error();
            continue;
        }
        if (watched[1].revents != 0)
            return 0;
        socket_t accepted;
        int error = socket_accept(listener, true, &accepted);
        if (error == 0) {
            error = start_connection(server, accepted) != 0 ? OUT_OF_MEMORY : 0;
        } else if (error != WOULD_BLOCK) { /* no descriptor left, say */
            lock(&server->lock);
            count_failed(server->counters, error);
            unlock(&server->lock);
        }
        pause_if_exhausted(error, stop);
    }
}

/* With the lock held: wait until all threads are gone; false where some aren't after so long. */
static bool wait_for_threads(struct server *server, uint32_t timeout_ms)
{
    while (server->open_count > 0)
        if (!condition_wait(&server->closed, &server->lock, timeout_ms))
            return server->open_count == 0;
    return true;
}

/* Wake all threads from their calls and wait until they are gone; false where some don't end. */
static bool close_all(struct server *server)
{
    struct connection *head = &server->connections;
    lock(&server->lock);
    server->is_stopping = true;
    for (struct connection *c = head->next; c != head; c = c->next)
        socket_shut_down(c->socket);
    bool have_ended = wait_for_threads(server, SHUTDOWN_TIMEOUT_MS);
    if (!have_ended) { /* what a shutdown leaves waiting on Windows, a close doesn't */
        for (struct connection *c = head->next; c != head; c = c->next) {
            socket_close(c->socket);
            c->socket = NO_SOCKET;
        }
        have_ended = wait_for_threads(server, STOP_TIMEOUT_MS);
    }
    unlock(&server->lock);
    return have_ended;
}

EXPORT int serve_threads(socket_t listener, socket_t stop, const struct serve_options *options,
                         struct serve_counters *counters)
{
    struct server server = {
        .lock = LOCK_INITIALIZER,
        .closed = CONDITION_INITIALIZER,
        .counters = counters,
        .connections = {.previous = &server.connections, .next = &server.connections},
        .buffer_bytes = options->buffer_bytes,
    };
    /* A peer that gives up between the wait and the accept must not block it. */
    int error = socket_set_blocking(listener, false);
    if (error == 0)
        error = accept_all(&server, listener, stop);
    bool have_ended = close_all(&server);
    return error == 0 && !have_ended ? TIMED_OUT : error;
}
