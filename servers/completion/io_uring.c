/* io_uring. Linux. The twin of io_uring.py, which says what sets it apart. */

#if defined(__linux__)

#include "completion/multishot.h"
#include "completion/ring_server.h"
#include "completion/single_shot.h"

enum {
    ENTRIES = 4096,
    COMPLETIONS = 32768,
    SQ_THREAD_IDLE_MS = 1,
    ACCEPTS_IN_FLIGHT = 16,
    STOP_TIMEOUT_S = 5,
    POLLED_PAUSES =
        10, /* a polling thread counts its idle time in ticks: it would spin through short pauses */
    PAUSE_NS = 10 * 1000 * 1000,
};

static void ask_for_accept(struct server *server)
{
    struct io_uring_sqe *made = entry(server, IORING_OP_ACCEPT, server->listener, NULL, ACCEPT);
    made->accept_flags = SOCK_CLOEXEC;
    if (server->is_multishot)
        made->ioprio = IORING_ACCEPT_MULTISHOT;
}

static void pause_accepting(struct server *server)
{
    if (server->accepts_waiting++ > 0)
        return;
    struct io_uring_sqe *made = entry(server, IORING_OP_TIMEOUT, -1, NULL, PAUSE);
    made->addr = (uint64_t)(uintptr_t)&server->pause;
    made->len = 1;
}

/* Serve an accepted socket. One that can't be served costs itself alone. */
static void open_connection(struct server *server, socket_t accepted)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection != NULL && !server->is_multishot) {
        connection->buffer = malloc(server->buffer_bytes);
        if (connection->buffer == NULL) {
            free(connection);
            connection = NULL;
        }
    }
    if (connection == NULL) {
        count_failed(server->counters, ENOMEM);
        (void)close(accepted);
        return;
    }
    struct connection *head = &server->connections;
    connection->socket = accepted;
    connection->previous = head->previous;
    connection->next = head;
    head->previous->next = connection;
    head->previous = connection;
    count_accepted(server->counters, ++server->open_count);
    if (server->is_multishot)
        receive_all(server, connection);
    else
        receive_own(server, connection);
}

static void accepted(struct server *server, int32_t result, uint32_t flags)
{
    if (result < 0)
        failed(server, result);
    else if (server->is_stopping)
        (void)close(result);
    else
        open_connection(server, result);
    if ((flags & IORING_CQE_F_MORE) != 0 || server->is_stopping)
        return;
    /* The connection stays in the backlog: without a pause this would spin. */
    if (is_exhausted(-result))
        pause_accepting(server);
    else
        ask_for_accept(server);
}

/* Have everything that is in flight complete. */
static void stop(struct server *server)
{
    server->is_stopping = true;
    server->is_running = server->open_count > 0;
    struct io_uring_sqe *made = entry(server, IORING_OP_TIMEOUT, -1, NULL, STOP_TIMEOUT);
    made->addr = (uint64_t)(uintptr_t)&server->stop_timeout;
    made->len = 1;
    for (struct connection *next, *c = server->connections.next; c != &server->connections; c = next) {
        next = c->next;
        (void)shutdown(c->socket, SHUT_RDWR);
        if (server->is_multishot) {
            c->is_ending = true;
            end_if_idle(server, c);
        }
    }
}

/* 0, or ETIMEDOUT where something that is in flight doesn't end. */
static int completed(struct server *server, const struct io_uring_cqe *done)
{
    struct connection *connection = (struct connection *)(uintptr_t)(done->user_data & ~(uint64_t)KIND_MASK);
    switch ((enum kind)(done->user_data & KIND_MASK)) {
    case RECEIVE:
        if (server->is_multishot)
            multishot_received(server, connection, done->res, done->flags);
        else
            single_received(server, connection, done->res);
        return 0;
    case SEND:
        if (server->is_multishot)
            multishot_sent(server, connection, done->res);
        else
            single_sent(server, connection, done->res);
        return 0;
    case ACCEPT:
        accepted(server, done->res, done->flags);
        return 0;
    case PAUSE:
        for (; server->accepts_waiting > 0; server->accepts_waiting--)
            ask_for_accept(server);
        return 0;
    case STOP:
        stop(server);
        return 0;
    case STOP_TIMEOUT:
        return ETIMEDOUT;
    default:
        return 0;
    }
}

/* Serve until it is stopped and nothing is in flight: 0 or the system's error code. */
static int run(struct server *server)
{
    struct ring *ring = &server->ring;
    struct io_uring_sqe *made = entry(server, IORING_OP_POLL_ADD, server->stop, NULL, STOP);
    made->poll32_events = POLLIN;
    for (int i = 0; i < (server->is_multishot ? 1 : ACCEPTS_IN_FLIGHT); i++)
        ask_for_accept(server);
    uint32_t head = *ring->cq_head;
    while (server->is_running) {
        int error = ring_enter(ring, 1);
        if (error != 0)
            return error;
        uint32_t end = ring_end(ring, head);
        for (; head != end; head++) {
            error = completed(server, &ring->cqes[head & ring->cq_mask]);
            if (error != 0)
                return error;
        }
        __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
        if (server->is_multishot)
            publish_given(server);
    }
    return 0;
}

static uint32_t setup_flags(uint32_t setup)
{
    switch (setup) {
    case SETUP_DEFER_TASKRUN:
        return IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    case SETUP_SQPOLL:
        return IORING_SETUP_SQPOLL;
    default:
        return 0;
    }
}

EXPORT int serve_io_uring(socket_t listener, socket_t stop_descriptor, const struct serve_options *options,
                          struct serve_counters *counters)
{
    struct server server = {
        .counters = counters,
        .listener = listener,
        .stop = stop_descriptor,
        .buffer_bytes = options->buffer_bytes,
        .is_multishot = options->multishot != 0,
        .is_running = true,
        .connections = {.previous = &server.connections, .next = &server.connections},
        .stop_timeout = {.tv_sec = STOP_TIMEOUT_S},
    };
    int error = ring_open(&server.ring, ENTRIES, COMPLETIONS, setup_flags(options->setup), SQ_THREAD_IDLE_MS);
    if (error != 0)
        return error;
    server.pause.tv_nsec = server.ring.is_polled ? POLLED_PAUSES * PAUSE_NS : PAUSE_NS;
    if (server.is_multishot)
        error = open_buffers(&server);
    if (error == 0) {
        serving(counters);
        error = run(&server);
    }
    ring_close(&server.ring);
    /* After a failure something may still be in flight, and the kernel write to it: then it is left. */
    if (error == 0)
        close_buffers(&server);
    return error;
}

#endif
