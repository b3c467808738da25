/* io_uring with one receive for each connection that goes on; buffers from a ring that all share: the twin of
   multishot.py, which says what keeps those that never read from the others' way. Linux. */

#ifndef SERVERS_COMPLETION_MULTISHOT_H
#define SERVERS_COMPLETION_MULTISHOT_H

#include "completion/ring_server.h"

enum {
    POOL_BYTES = 16 << 20, /* of the buffers that all share */
    BUFFERS_MAX = 32768, /* the kernel's limit */
    QUEUED_MAX = 16, /* of them wait for a connection's send */
};

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
    close_connection(server, connection);
}

/* Receive from now on. */
static void receive_all(struct server *server, struct connection *connection)
{
    struct io_uring_sqe *made = entry(server, IORING_OP_RECV, connection->socket, connection, RECEIVE);
    made->ioprio = IORING_RECV_MULTISHOT;
    made->flags = IOSQE_BUFFER_SELECT;
    connection->is_receiving = true;
}

/* Receive once, into a buffer of its own: those that all share are with peers that don't read. */
static void receive_alone(struct server *server, struct connection *connection)
{
    connection->buffer = malloc(server->buffer_bytes);
    if (connection->buffer == NULL) {
        connection->is_ending = true;
        failed(server, -ENOMEM);
        return;
    }
    connection->is_receiving = true;
    receive_own(server, connection);
}

static void send_more(struct server *server, struct connection *connection)
{
    const char *shared = server->buffers + (size_t)connection->sending * server->buffer_bytes;
    send_rest(server, connection, connection->buffer != NULL ? connection->buffer : shared);
}

static void start_sending(struct server *server, struct connection *connection, uint32_t length)
{
    connection->is_sending = true;
    connection->length = length;
    connection->sent = 0;
    send_more(server, connection);
}

static void send_buffer(struct server *server, struct connection *connection, uint16_t buffer)
{
    connection->sending = buffer;
    start_sending(server, connection, server->lengths[buffer]);
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
    if (result > 0 && connection->buffer != NULL) {
        if (!connection->is_ending)
            start_sending(server, connection, (uint32_t)result);
    } else if (result > 0) {
        uint16_t buffer = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
        server->lengths[buffer] = (uint32_t)result;
        if (connection->is_ending)
            give(server, buffer);
        else if (connection->is_sending)
            queue(server, connection, buffer);
        else
            send_buffer(server, connection, buffer);
        if (!connection->is_receiving && !connection->is_paused && !connection->is_ending)
            receive_all(server, connection);
    } else if (result == -ENOBUFS && !connection->is_ending) {
        if (!connection->is_sending) /* otherwise it asks again when that is sent */
            receive_alone(server, connection);
    } else if (result == -ECANCELED && connection->is_paused && !connection->is_ending) {
        if (connection->queue_length == 0 && !connection->is_sending) { /* it has caught up meanwhile */
            connection->is_paused = false;
            receive_all(server, connection);
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
            send_more(server, connection);
            return;
        }
    }
    connection->is_sending = false;
    if (connection->buffer == NULL)
        give(server, connection->sending);
    free(connection->buffer);
    connection->buffer = NULL;
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
        send_buffer(server, connection, buffer);
    } else if (!connection->is_receiving && !connection->is_ending) {
        connection->is_paused = false;
        receive_all(server, connection);
    }
    end_if_idle(server, connection);
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

#endif
