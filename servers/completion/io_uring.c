/* io_uring. Linux. The twin of io_uring.py, which says what sets it apart.

   What a completion brings back is the address of its connection, and in the lowest bits what was done. */

#if defined(__linux__)

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "completion/ring.h"
#include "native.h"

enum {
    ENTRIES = 4096,
    COMPLETIONS = 32768,
    SQ_THREAD_IDLE_MS = 1,
    ACCEPTS_IN_FLIGHT = 16,
    STOP_TIMEOUT_S = 5,
    POOL_BYTES = 16 << 20, /* of multishot's buffers */
    BUFFERS_MAX = 32768, /* the kernel's limit */
    QUEUED_MAX = 16, /* of multishot's buffers, that wait for a connection's send */
    POLLED_PAUSES =
        10, /* a polling thread counts its idle time in ticks: it would spin through short pauses */
    PAUSE_NS = 10 * 1000 * 1000,
};

enum kind { ACCEPT, STOP, PAUSE, STOP_TIMEOUT, CANCEL, RECEIVE, SEND, KIND_MASK };

enum { NO_BUFFER = UINT16_MAX };

struct connection {
    struct connection *previous, *next;
    socket_t socket;
    /* What is being sent: the bytes, and how many of them the kernel has taken so far. */
    char *buffer; /* single-shot: its own */
    uint32_t length, sent;
    /* multishot */
    bool is_receiving, is_sending, is_paused, is_starved, is_ending;
    bool is_broken; /* its failure is counted: send and receive report the same */
    uint16_t sending; /* the buffer that is being sent */
    uint16_t queue_first, queue_last, queue_length; /* those that wait for that */
};
_Static_assert(_Alignof(struct connection) > KIND_MASK, "the lowest bits of an address are free");

struct server {
    struct ring ring;
    struct serve_counters *counters;
    socket_t listener, stop;
    uint32_t buffer_bytes;
    bool is_multishot, is_running, is_stopping;
    uint32_t accepts_waiting; /* for the system to have descriptors again */
    struct connection connections; /* head of a ring of those that are open */
    uint64_t open_count;
    struct __kernel_timespec pause, stop_timeout;
    /* multishot: buffers that all share, the ring by which the kernel gets them, and for each its bytes and
       the next in a queue. */
    char *buffers;
    struct io_uring_buf *buffer_ring;
    uint32_t buffer_count;
    uint16_t given; /* to the kernel so far, and again: the tail of their ring */
    uint32_t *lengths;
    uint16_t *nexts;
    uint64_t starved_count;
    uint16_t fed; /* `given` when those without a buffer last asked: until it moves they would spin */
};

static struct io_uring_sqe *entry(struct server *server, int operation, socket_t socket,
                                  const struct connection *connection, enum kind kind)
{
    struct io_uring_sqe *made = ring_entry(&server->ring);
    made->opcode = (uint8_t)operation;
    made->fd = socket;
    made->user_data = (uint64_t)(uintptr_t)connection | (uint64_t)kind;
    return made;
}

static void ask_for_accept(struct server *server)
{
    struct io_uring_sqe *made = entry(server, IORING_OP_ACCEPT, server->listener, NULL, ACCEPT);
    made->accept_flags = SOCK_CLOEXEC;
    if (server->is_multishot)
        made->ioprio = IORING_ACCEPT_MULTISHOT;
}

static void receive(struct server *server, struct connection *connection)
{
    struct io_uring_sqe *made = entry(server, IORING_OP_RECV, connection->socket, connection, RECEIVE);
    if (server->is_multishot) {
        made->ioprio = IORING_RECV_MULTISHOT;
        made->flags = IOSQE_BUFFER_SELECT;
        connection->is_receiving = true;
    } else {
        made->addr = (uint64_t)(uintptr_t)connection->buffer;
        made->len = server->buffer_bytes;
    }
}

/* Send what of `connection->length` isn't sent yet. */
static void send_rest(struct server *server, struct connection *connection)
{
    const char *start = connection->buffer;
    if (server->is_multishot)
        start = server->buffers + (size_t)connection->sending * server->buffer_bytes;
    struct io_uring_sqe *made = entry(server, IORING_OP_SEND, connection->socket, connection, SEND);
    made->addr = (uint64_t)(uintptr_t)(start + connection->sent);
    made->len = connection->length - connection->sent;
    made->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
}

static void close_connection(struct server *server, struct connection *connection)
{
    connection->previous->next = connection->next;
    connection->next->previous = connection->previous;
    (void)close(connection->socket);
    if (!server->is_multishot)
        free(connection->buffer);
    free(connection);
    server->open_count--;
    if (server->is_stopping && server->open_count == 0)
        server->is_running = false;
}

/* Count what the kernel reported, unless it is this server's own doing. */
static void failed(struct server *server, int32_t result)
{
    if (!server->is_stopping)
        count_failed(server->counters, -result);
}

/* --- single-shot --- */

static void single_received(struct server *server, struct connection *connection, int32_t result)
{
    if (result <= 0) {
        if (result < 0)
            failed(server, result);
        close_connection(server, connection);
        return;
    }
    connection->length = (uint32_t)result;
    connection->sent = 0;
    send_rest(server, connection);
}

static void single_sent(struct server *server, struct connection *connection, int32_t result)
{
    if (result <= 0) {
        failed(server, result);
        close_connection(server, connection);
        return;
    }
    connection->sent += (uint32_t)result;
    if (connection->sent < connection->length) /* the kernel waits for all of it since 5.19 */
        send_rest(server, connection);
    else
        receive(server, connection);
}

/* --- multishot --- */

/* Let the kernel fill a buffer; it sees that when the tail is published. */
static void give(struct server *server, uint16_t buffer)
{
    struct io_uring_buf *place = &server->buffer_ring[server->given++ & (server->buffer_count - 1)];
    place->addr = (uint64_t)(uintptr_t)(server->buffers + (size_t)buffer * server->buffer_bytes);
    place->len = server->buffer_bytes;
    place->bid = buffer;
}

static void publish_given(struct server *server)
{
    /* The tail lies in the first entry, in a field that entries don't use. */
    __atomic_store_n(&server->buffer_ring[0].resv, server->given, __ATOMIC_RELEASE);
}

static void drop_queue(struct server *server, struct connection *connection)
{
    while (connection->queue_length > 0) {
        uint16_t buffer = connection->queue_first;
        connection->queue_first = server->nexts[buffer];
        connection->queue_length--;
        give(server, buffer);
    }
}

/* Count why, once for a connection, and give back what will not be sent. */
static void broke(struct server *server, struct connection *connection, int32_t result)
{
    if (!connection->is_broken)
        failed(server, result);
    connection->is_broken = true;
    drop_queue(server, connection);
}

static void end_if_idle(struct server *server, struct connection *connection)
{
    if (!connection->is_ending || connection->is_receiving || connection->is_sending)
        return;
    drop_queue(server, connection);
    server->starved_count -= connection->is_starved;
    close_connection(server, connection);
}

static void start_sending(struct server *server, struct connection *connection, uint16_t buffer)
{
    connection->is_sending = true;
    connection->sending = buffer;
    connection->length = server->lengths[buffer];
    connection->sent = 0;
    send_rest(server, connection);
}

/* Keep a buffer until what is being sent is sent; receive no more where that is much. */
static void queue(struct server *server, struct connection *connection, uint16_t buffer)
{
    if (connection->queue_length == 0)
        connection->queue_first = buffer;
    else
        server->nexts[connection->queue_last] = buffer;
    connection->queue_last = buffer;
    connection->queue_length++;
    if (connection->queue_length < QUEUED_MAX || connection->is_paused || !connection->is_receiving)
        return;
    connection->is_paused = true;
    struct io_uring_sqe *made = entry(server, IORING_OP_ASYNC_CANCEL, -1, NULL, CANCEL);
    made->addr = (uint64_t)(uintptr_t)connection | RECEIVE;
}

static void multishot_received(struct server *server, struct connection *connection, int32_t result,
                               uint32_t flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0)
        connection->is_receiving = false;
    if (result > 0) {
        uint16_t buffer = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
        server->lengths[buffer] = (uint32_t)result;
        if (connection->is_ending)
            give(server, buffer);
        else if (connection->is_sending)
            queue(server, connection, buffer);
        else
            start_sending(server, connection, buffer);
        if (!connection->is_receiving && !connection->is_paused && !connection->is_ending)
            receive(server, connection);
    } else if (result == -ENOBUFS && !connection->is_ending) {
        connection->is_starved = true;
        server->starved_count++;
    } else if (result == -ECANCELED && connection->is_paused && !connection->is_ending) {
        if (connection->queue_length == 0 && !connection->is_sending) { /* it has caught up meanwhile */
            connection->is_paused = false;
            receive(server, connection);
        }
    } else {
        connection->is_ending = true;
        if (result < 0 && result != -ENOBUFS && result != -ECANCELED)
            broke(server, connection, result);
    }
    end_if_idle(server, connection);
}

static void multishot_sent(struct server *server, struct connection *connection, int32_t result)
{
    if (result > 0) {
        connection->sent += (uint32_t)result;
        if (connection->sent < connection->length) {
            send_rest(server, connection);
            return;
        }
    }
    connection->is_sending = false;
    give(server, connection->sending);
    if (result <= 0) {
        broke(server, connection, result);
        if (!connection->is_ending) {
            connection->is_ending = true;
            (void)shutdown(connection->socket, SHUT_RDWR); /* which ends the receive */
        }
    } else if (connection->queue_length > 0) {
        uint16_t buffer = connection->queue_first;
        connection->queue_first = server->nexts[buffer];
        connection->queue_length--;
        start_sending(server, connection, buffer);
    } else if (connection->is_paused && !connection->is_receiving && !connection->is_ending) {
        connection->is_paused = false;
        receive(server, connection);
    }
    end_if_idle(server, connection);
}

/* Receive again where there was no buffer: some have come back. */
static void feed(struct server *server)
{
    server->fed = server->given;
    for (struct connection *c = server->connections.next; c != &server->connections; c = c->next) {
        if (!c->is_starved || c->is_paused || c->is_ending)
            continue;
        c->is_starved = false;
        server->starved_count--;
        receive(server, c);
    }
}

static int open_buffers(struct server *server)
{
    uint32_t count = POOL_BYTES / server->buffer_bytes;
    if (count < 2 * QUEUED_MAX)
        count = 2 * QUEUED_MAX;
    server->buffer_count = 1;
    while (2 * server->buffer_count <= count && 2 * server->buffer_count <= BUFFERS_MAX)
        server->buffer_count *= 2;
    size_t bytes = (size_t)server->buffer_count * server->buffer_bytes;
    int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    size_t ring_bytes = server->buffer_count * sizeof *server->buffer_ring;
    void *buffers = mmap(NULL, bytes, protection, flags, -1, 0);
    void *buffer_ring = mmap(NULL, ring_bytes, protection, flags, -1, 0);
    server->buffers = buffers != MAP_FAILED ? buffers : NULL;
    server->buffer_ring = buffer_ring != MAP_FAILED ? buffer_ring : NULL;
    server->lengths = calloc(server->buffer_count, sizeof *server->lengths);
    server->nexts = calloc(server->buffer_count, sizeof *server->nexts);
    if (server->buffers == NULL || server->buffer_ring == NULL || server->lengths == NULL ||
        server->nexts == NULL)
        return ENOMEM;
    struct io_uring_buf_reg registered = {
        .ring_addr = (uint64_t)(uintptr_t)server->buffer_ring,
        .ring_entries = server->buffer_count,
    };
    if (syscall(SYS_io_uring_register, server->ring.descriptor, IORING_REGISTER_PBUF_RING, &registered, 1) <
        0)
        return errno;
    for (uint32_t i = 0; i < server->buffer_count; i++)
        give(server, (uint16_t)i);
    publish_given(server);
    return 0;
}

static void close_buffers(struct server *server)
{
    if (server->buffers != NULL)
        (void)munmap(server->buffers, (size_t)server->buffer_count * server->buffer_bytes);
    if (server->buffer_ring != NULL)
        (void)munmap(server->buffer_ring, server->buffer_count * sizeof *server->buffer_ring);
    free(server->lengths);
    free(server->nexts);
}

/* --- both --- */

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
    receive(server, connection);
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
        if (server->is_multishot) { /* nothing is in flight of those that wait for a buffer */
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
        uint32_t end = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
        for (; head != end; head++) {
            error = completed(server, &ring->cqes[head & ring->cq_mask]);
            if (error != 0)
                return error;
        }
        __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
        if (server->is_multishot) {
            publish_given(server);
            if (server->starved_count > 0 && server->given != server->fed)
                feed(server);
        }
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
