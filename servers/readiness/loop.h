/* The echo server that every readiness model in C shares: the twin of loop.py, with the same names.
   Only the way to wait differs between models.

   A model defines `struct poller`, includes this file, and then defines the functions that are declared under
   "Poller". The compiler sees all of it at once, so the sharing costs no call. */

#ifndef SERVERS_READINESS_LOOP_H
#define SERVERS_READINESS_LOOP_H

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

/* A peer that never stops sending would otherwise keep the thread for itself. */
enum { READS_PER_EDGE = 16 };

struct connection {
    socket_t socket;
    uint32_t unsent_bytes; /* what a slow reader hasn't taken yet; 0 in a ping-pong */
    uint32_t unsent_start; /* where in `unsent` that begins */
    char *unsent; /* NULL unless something is */
    bool is_watched;
    uint32_t place; /* among those that a poller watches, where it keeps them in an array */
    struct connection *previous, *next;
};

/* Poller: one way to wait for many sockets. All but poller_wait return 0 or the system's error code. */

struct poller;

/* Report `connection` when it has bytes, a connection or an end of stream to take. Of one that is watched
   already, an edge-triggered poller reports once more what is there. */
static int poller_watch_read(struct poller *poller, struct connection *connection);

/* Report `connection` when it takes bytes again, and no longer when it has some. */
static int poller_watch_write(struct poller *poller, struct connection *connection);

/* Stop reporting `connection`. Called before it is closed. */
static void poller_forget(struct poller *poller, struct connection *connection);

/* Block until something watched is ready: how many are, each once, or the negative of the system's error
 * code. */
static int poller_wait(struct poller *poller);

/* The one at `index` of those that poller_wait found. */
static struct connection *poller_ready(struct poller *poller, int index);

struct server {
    struct poller *poller;
    struct serve_counters *counters;
    struct connection listener, stop;
    struct connection connections; /* head of a ring of those that are open */
    uint64_t open_count;
    uint32_t buffer_bytes, accepts_per_wait, reads_per_wait;
    bool edge_triggered;
    char *buffer; /* one for all: what a peer doesn't take at once is copied out */
};

static void server_close(struct server *server, struct connection *connection)
{
    poller_forget(server->poller, connection);
    socket_close(connection->socket);
    connection->previous->next = connection->next;
    connection->next->previous = connection->previous;
    server->open_count--;
    free(connection->unsent);
    free(connection);
}

static void server_close_all(struct server *server)
{
    while (server->connections.next != &server->connections)
        server_close(server, server->connections.next);
}

/* Accept one connection: 0, or the error code of the accept. One that can't be watched costs itself alone. */
static int server_accept(struct server *server)
{
    socket_t accepted;
    int error = socket_accept(server->listener.socket, false, &accepted);
    if (error != 0)
        return error;
    struct connection *connection = calloc(1, sizeof *connection);
    error = OUT_OF_MEMORY;
    if (connection != NULL) {
        connection->socket = accepted;
        error = poller_watch_read(server->poller, connection);
    }
    if (error != 0) {
        count_failed(server->counters, error);
        free(connection);
        socket_close(accepted);
        return 0;
    }
    struct connection *head = &server->connections;
    connection->previous = head->previous;
    connection->next = head;
    head->previous->next = connection;
    head->previous = connection;
    count_accepted(server->counters, ++server->open_count);
    return 0;
}

static void server_accept_all(struct server *server)
{
    for (uint32_t i = 0; i < server->accepts_per_wait; i++) {
        int error = server_accept(server);
        if (error == WOULD_BLOCK)
            return;
        if (error != 0) {
            count_failed(server->counters, error);
            pause_if_exhausted(error, server->stop.socket);
            break;
        }
    }
    if (server->edge_triggered) {
        int error = poller_watch_read(server->poller, &server->listener);
        assert(error == 0); /* it is watched already, so the system has nothing to allocate */
        (void)error;
    }
}

/* Give bytes to the system: how much of them was taken, 0 where it takes none now, or -1. */
static int64_t send_some(socket_t socket, const char *data, size_t data_bytes)
{
    int64_t sent = socket_send(socket, data, data_bytes);
    return sent < 0 && socket_error() == WOULD_BLOCK ? 0 : sent;
}

/* Keep what the peer didn't take, and read no more from it until it has: memory stays bounded. */
static int keep_unsent(struct server *server, struct connection *connection, const char *data,
                       size_t data_bytes)
{
    assert(connection->unsent == NULL && data_bytes <= server->buffer_bytes);
    connection->unsent = malloc(data_bytes);
    if (connection->unsent == NULL)
        return OUT_OF_MEMORY;
    memcpy(connection->unsent, data, data_bytes);
    connection->unsent_start = 0;
    connection->unsent_bytes = (uint32_t)data_bytes;
    return poller_watch_write(server->poller, connection);
}

static int send_unsent(struct server *server, struct connection *connection)
{
    int64_t sent = send_some(connection->socket, connection->unsent + connection->unsent_start,
                             connection->unsent_bytes);
    if (sent < 0)
        return socket_error();
    connection->unsent_start += (uint32_t)sent;
    connection->unsent_bytes -= (uint32_t)sent;
    if (connection->unsent_bytes > 0)
        return 0;
    free(connection->unsent);
    connection->unsent = NULL;
    return poller_watch_read(server->poller, connection);
}

/* Take what is there and send it back: 0, or what went wrong with this connection. */
static int server_echo(struct server *server, struct connection *connection)
{
    if (connection->unsent != NULL)
        return send_unsent(server, connection);
    for (uint32_t i = 0; i < server->reads_per_wait; i++) {
        int64_t received = socket_receive(connection->socket, server->buffer, server->buffer_bytes);
        if (received < 0)
            return socket_error() == WOULD_BLOCK ? 0 : socket_error();
        if (received == 0) {
            server_close(server, connection);
            return 0;
        }
        int64_t sent = send_some(connection->socket, server->buffer, (size_t)received);
        if (sent < 0)
            return socket_error();
        if (sent < received)
            return keep_unsent(server, connection, server->buffer + sent, (size_t)(received - sent));
    }
    return server->edge_triggered ? poller_watch_read(server->poller, connection) : 0;
}

/* Serve all that are ready, until `stop` is: 0, or the error code of the wait. */
static int server_run(struct server *server)
{
    for (;;) {
        int ready_count = poller_wait(server->poller);
        if (ready_count < 0)
            return -ready_count;
        for (int i = 0; i < ready_count; i++) {
            /* A connection is reported once a wait, so none that was closed in this one comes again. */
            struct connection *connection = poller_ready(server->poller, i);
            if (connection == &server->stop)
                return 0;
            if (connection == &server->listener) {
                server_accept_all(server);
                continue;
            }
            int error = server_echo(server, connection);
            if (error != 0) {
                count_failed(server->counters, error);
                server_close(server, connection);
            }
        }
    }
}

/* Echo on every connection of `listener` until `stop` becomes readable: 0 or the system's error code. */
static int serve(struct poller *poller, bool edge_triggered, socket_t listener, socket_t stop,
                 const struct serve_options *options, struct serve_counters *counters)
{
    struct server server = {
        .poller = poller,
        .counters = counters,
        .listener.socket = listener,
        .stop.socket = stop,
        .connections = {.previous = &server.connections, .next = &server.connections},
        .buffer_bytes = options->buffer_bytes,
        .accepts_per_wait = options->accepts_per_wait != 0 ? options->accepts_per_wait : UINT32_MAX,
        .reads_per_wait = edge_triggered ? READS_PER_EDGE : 1,
        .edge_triggered = edge_triggered,
        .buffer = malloc(options->buffer_bytes),
    };
    int error = OUT_OF_MEMORY;
    if (server.buffer == NULL)
        goto done;
    if ((error = socket_set_blocking(listener, false)) != 0)
        goto done;
    if ((error = poller_watch_read(poller, &server.stop)) != 0)
        goto done;
    if ((error = poller_watch_read(poller, &server.listener)) != 0)
        goto done;
    serving(counters);
    error = server_run(&server);
done:
    server_close_all(&server);
    free(server.buffer);
    return error;
}

#endif
