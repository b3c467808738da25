/* A server at a completion port, as iocp.c, iocp_connection.c and acceptex.c share it.

   The completion key is the connection, the OVERLAPPED begins the operation. Whatever of a connection is in
   flight holds a reference to it, which the worker that takes the completion lets go of once it has released
   the connection's lock; the last one closes and frees it. So nothing that the kernel may write to is freed,
   and no lock in which another thread still is. A connection that goes on always has something in flight. */

#ifndef SERVERS_COMPLETION_IOCP_H
#define SERVERS_COMPLETION_IOCP_H

#include <stdatomic.h>

#include "completion/operation.h"
#include "native.h"
#include "threading.h"

#include <mswsock.h>
#include <ws2tcpip.h>

enum {
    ACCEPTS_AHEAD = 16, /* with 1 a burst of connections is accepted one wake-up after the other */
    ADDRESS_BYTES = sizeof(struct sockaddr_in6) + 16, /* what AcceptEx wants for one of the longer kind */
    LISTENER_KEY = 0, /* no connection's: theirs is its address */
};

/* What an operation is: the port doesn't say. A probe is an empty receive, which completes when there is
   something to receive. */
enum mode { RECEIVE, PROBE, SEND };

/* The per-I/O data: everything that must outlive the call that started it. */
struct operation {
    OVERLAPPED overlapped; /* first: the port brings back its address */
    WSABUF buffer; /* what is to be filled or sent of `bytes` */
    DWORD flags, transferred;
    enum mode mode;
    char *bytes;
};

/* The per-handle data: an accepted socket, its two operations, and what waits for what. */
struct connection {
    struct operation operations[2];
    atomic_uint references; /* one for each completion to come, one for each thread that is at work on it */
    struct server *server;
    struct connection *previous, *next;
    socket_t socket;
    lock_t lock; /* of what follows, and of the operations that aren't in flight */
    struct operation *idle; /* neither receiving nor sending */
    struct operation *received; /* full, until the send before it is done */
    struct operation *done[2]; /* at once, without a packet */
    uint32_t done_count;
    bool is_closing; /* no failure counts any more, and no receive is started */
    bool is_cancelled; /* no send either */
};

/* One accept that is started ahead: a socket that isn't a connection yet, and its operation. */
struct acceptor {
    OVERLAPPED overlapped; /* first: the port brings back its address */
    struct server *server;
    struct acceptor *parked; /* the next one */
    socket_t socket;
    DWORD received;
    char addresses[2 * ADDRESS_BYTES];
};

struct worker {
    struct server *server;
    HANDLE thread;
    OVERLAPPED_ENTRY *entries; /* room for a batch */
};

struct server {
    HANDLE port;
    socket_t listener, stop;
    const struct serve_options *options;
    atomic_bool is_stopping;
    struct worker *workers;
    uint32_t worker_count; /* that run */
    struct worker own; /* of the thread that serves: it may take completions, too */
    LPFN_ACCEPTEX accept_ex;
    int family;
    struct acceptor acceptors[ACCEPTS_AHEAD];
    lock_t lock; /* of what follows */
    struct serve_counters *counters;
    struct connection connections; /* head of a ring of those that are open */
    uint64_t open_count;
    uint32_t accepts_in_flight;
    struct acceptor *parked; /* those that couldn't start an accept */
};

/* --- iocp.c --- */

/* Count a failure; from any thread. */
void server_failed(struct server *server, int error);

/* Put a packet of our own at the port; without an operation it ends who takes it: 0 or the system's error
   code. */
int server_post(struct server *server, DWORD transferred, ULONG_PTR key, OVERLAPPED *overlapped);

/* --- iocp_connection.c --- */

/* Serve an accepted socket; what fails costs this connection alone. */
void connection_open(struct server *server, socket_t accepted);

/* Take one completion of a connection; its reference is the caller's. */
void connection_completed(struct connection *connection, struct operation *operation, DWORD transferred,
                          bool has_failed);

/* Close it once the completions that are still to come have come. With its lock held, or alone. */
void connection_cancel(struct connection *connection);

/* --- acceptex.c --- */

/* Connect the listener with the port and start accepts: 0 or the system's error code. */
int acceptors_start(struct server *server);

/* Start an accept; where nothing is to be had for it, wait until a connection has ended. */
void acceptor_start(struct acceptor *acceptor);

/* A connection has come, or the accept failed; start the next one. */
void acceptor_completed(struct acceptor *acceptor, bool has_failed);

#endif
