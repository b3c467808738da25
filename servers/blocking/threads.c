/* A thread for each connection. Linux. The twin of threads.py, which says what sets it apart. */

#if defined(__linux__)

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "native.h"

enum {
    STACK_BYTES = 256 * 1024, /* as in Python, so that memory may be compared */
    STOP_TIMEOUT_S = 5, /* shut down connections let go of their threads within milliseconds */
};

struct connection {
    struct server *server;
    struct connection *previous, *next;
    socket_t socket;
};

struct server {
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t closed;
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
        ssize_t sent = send(socket, data, data_bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return errno;
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
        ssize_t received = recv(socket, buffer, buffer_bytes, 0);
        if (received == 0)
            return 0;
        if (received < 0) {
            if (errno != EINTR)
                return errno;
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
    (void)close(connection->socket);
    free(connection);
    if (--server->open_count == 0)
        pthread_cond_signal(&server->closed);
}

static void *run_connection(void *argument)
{
    struct connection *connection = argument;
    struct server *server = connection->server;
    char *buffer = malloc(server->buffer_bytes);
    int error = buffer != NULL ? echo(connection->socket, buffer, server->buffer_bytes) : ENOMEM;
    free(buffer);
    pthread_mutex_lock(&server->lock);
    if (error != 0 && !server->is_stopping) /* otherwise it is this server's own doing */
        count_failed(server->counters, error);
    close_connection(connection);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

/* Serve an accepted socket in a thread of its own: 0, or the error code where there is none to be had. */
static int start_connection(struct server *server, const pthread_attr_t *attributes, socket_t accepted)
{
    struct connection *connection = calloc(1, sizeof *connection);
    pthread_mutex_lock(&server->lock);
    int error = ENOMEM;
    if (connection == NULL) {
        (void)close(accepted);
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
        pthread_t thread;
        error = pthread_create(&thread, attributes, run_connection, connection);
        if (error != 0)
            close_connection(connection);
    }
    if (error != 0)
        count_failed(server->counters, error);
    pthread_mutex_unlock(&server->lock);
    return error;
}

/* Accept until `stop` becomes readable: 0 or the system's error code. */
static int accept_all(struct server *server, const pthread_attr_t *attributes, socket_t listener,
                      socket_t stop)
{
    struct pollfd watched[] = {{.fd = listener, .events = POLLIN}, {.fd = stop, .events = POLLIN}};
    for (;;) {
        if (poll(watched, 2, -1) < 0) {
            if (errno != EINTR)
                return errno;
            continue;
        }
        if (watched[1].revents != 0)
            return 0;
        socket_t accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        int error = 0;
        if (accepted >= 0) {
            error = start_connection(server, attributes, accepted) != 0 ? ENOMEM : 0;
        } else if (errno != EAGAIN) { /* no descriptor left, say */
            error = errno;
            pthread_mutex_lock(&server->lock);
            count_failed(server->counters, error);
            pthread_mutex_unlock(&server->lock);
        }
        pause_if_exhausted(error, stop);
    }
}

/* Wake all threads from their calls and wait until they are gone: 0, or ETIMEDOUT. */
static int close_all(struct server *server)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += STOP_TIMEOUT_S;
    pthread_mutex_lock(&server->lock);
    server->is_stopping = true;
    for (struct connection *c = server->connections.next; c != &server->connections; c = c->next)
        (void)shutdown(c->socket, SHUT_RDWR); /* reset meanwhile: its thread knows */
    int error = 0;
    while (server->open_count > 0 && error == 0)
        error = pthread_cond_timedwait(&server->closed, &server->lock, &deadline);
    pthread_mutex_unlock(&server->lock);
    return error;
}

EXPORT int serve_threads(socket_t listener, socket_t stop, const struct serve_options *options,
                         struct serve_counters *counters)
{
    struct server server = {
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .closed = PTHREAD_COND_INITIALIZER,
        .counters = counters,
        .connections = {.previous = &server.connections, .next = &server.connections},
        .buffer_bytes = options->buffer_bytes,
    };
    /* A peer that gives up between the wait and the accept must not block it. */
    int flags = fcntl(listener, F_GETFL);
    if (flags < 0 || fcntl(listener, F_SETFL, flags | O_NONBLOCK) < 0)
        return errno;
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    error = accept_all(&server, &attributes, listener, stop);
    int stop_error = close_all(&server);
    (void)pthread_attr_destroy(&attributes);
    return error != 0 ? error : stop_error;
}

#endif
