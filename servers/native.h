/* What every server in C has to do with the Python that starts it: the twin of contract.py.

   A model gives `int serve_<model>(listener, stop, options, counters)`: it echoes on every connection of
   `listener` until `stop` becomes readable, and returns 0 or the system's error code. Structures hold
   fixed-width types alone; their sizes are asserted here and, from the other side, in the tests of native.py.
 */

#ifndef SERVERS_NATIVE_H
#define SERVERS_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "sockets.h"

/* The options that servers in C declare; a model reads those that its row in the registry names. */
struct serve_options {
    uint32_t buffer_bytes; /* taken in one read, and kept unsent for a connection at most */
    uint32_t accepts_per_wait; /* 0: all that are there */
    uint32_t edge_triggered; /* 1: report a socket once when it gets ready */
    uint32_t exclusive; /* 1: of several loops that share the listener a connection wakes one */
    uint32_t setup; /* how a ring is set up: enum setup */
    uint32_t multishot; /* 1: one accept and one receive for each connection that go on */
    /* Windows */
    uint32_t raw_fd_set; /* 1: a set with room for all */
    uint32_t accept; /* who accepts: enum accept */
    uint32_t accept_poll_ms; /* ACCEPT_ALTERNATING: between two looks for connections, at most */
    uint32_t port_threads; /* that take completions */
    uint32_t concurrency; /* of them, how many may run at once */
    uint32_t batch; /* completions taken at once */
    uint32_t skip_on_success; /* 1: what is done at once queues no completion */
    uint32_t zero_byte_receive; /* 1: wait with an empty receive */
    uint32_t routines_per_wait; /* that start I/O; 0: no limit */
};
enum setup { SETUP_DEFER_TASKRUN, SETUP_PLAIN, SETUP_SQPOLL };
enum accept { ACCEPT_THREAD, ACCEPT_ALTERNATING, ACCEPT_ACCEPTEX };
_Static_assert(sizeof(struct serve_options) == 60, "native.py has the same layout");

struct error_count {
    uint64_t count;
    int32_t code; /* the system's; 0 in a place that isn't used */
};
_Static_assert(sizeof(struct error_count) == 16, "native.py has the same layout");

/* Codes that aren't the system's: native.py has their names. */
enum { FD_SETSIZE_EXCEEDED = -1 };

/* More kinds than a server of sockets was ever seen to fail with. */
enum { ERROR_KINDS = 16 };

struct serve_counters {
    uint64_t connections_accepted;
    uint64_t connections_open_max;
    uint64_t errors_other; /* of kinds for which no place was left */
    uint64_t is_serving; /* 1: an event loop has all that it needs and is about to wait */
    struct error_count errors[ERROR_KINDS];
};
_Static_assert(sizeof(struct serve_counters) == 288, "native.py has the same layout");

/* Say, to another thread, that this event loop is about to wait: one of several isn't ready before. */
static inline void serving(struct serve_counters *counters)
{
    __atomic_store_n(&counters->is_serving, 1, __ATOMIC_RELEASE);
}

/* Count a connection, with which `open_count` are open. */
static inline void count_accepted(struct serve_counters *counters, uint64_t open_count)
{
    counters->connections_accepted++;
    if (open_count > counters->connections_open_max)
        counters->connections_open_max = open_count;
}

/* Count a failure under the system's code for it. */
static inline void count_failed(struct serve_counters *counters, int code)
{
    for (int i = 0; i < ERROR_KINDS; i++) {
        struct error_count *error = &counters->errors[i];
        if (error->code == code || error->code == 0) {
            error->code = code;
            error->count++;
            return;
        }
    }
    counters->errors_other++;
}

#endif
