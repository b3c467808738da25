/* What both ways of io_uring share: the twin of ring_server.py. Linux.

   What a completion brings back is the address of its connection, and in the lowest bits what was done. */

#ifndef SERVERS_COMPLETION_RING_SERVER_H
#define SERVERS_COMPLETION_RING_SERVER_H

#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "completion/ring.h"
#include "native.h"

enum kind { ACCEPT, STOP, PAUSE, STOP_TIMEOUT, CANCEL, RECEIVE, SEND, KIND_MASK };

struct connection {
    struct connection *previous, *next;
    socket_t socket;
    char *buffer; /* its own: single-shot always has one, multishot where those that all share are taken */
    uint32_t length, sent; /* of what is being sent: its bytes, and how many the kernel has taken so far */
    /* multishot */
    bool is_receiving, is_sending, is_paused, is_ending;
    bool is_broken; /* its failure is counted: send and receive report the same */
    uint16_t sending; /* the shared buffer that is being sent */
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

/* Receive once, into the connection's own buffer. */
static void receive_own(struct server *server, struct connection *connection)
{
    struct io_uring_sqe *made = entry(server, IORING_OP_RECV, connection->socket, connection, RECEIVE);
    made->addr = (uint64_t)(uintptr_t)connection->buffer;
    made->len = server->buffer_bytes;
}

/* Send what of `connection->length` isn't sent yet of the bytes at `start`. */
static void send_rest(struct server *server, struct connection *connection, const char *start)
{
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

#endif
