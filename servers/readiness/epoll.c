/* epoll. Linux. The twin of epoll.py, which says what sets it apart. */

#if defined(__linux__)

#include <stdbool.h>
#include <sys/epoll.h>

/* Of 1000 ready sockets none waits for a second call. */
enum { EVENTS_PER_WAIT = 1024 };

struct poller {
    int epoll;
    uint32_t trigger;
    int exclusive; /* the listener where EPOLLEXCLUSIVE is wanted, else -1 */
    struct epoll_event events[EVENTS_PER_WAIT];
};

#include "readiness/loop.h"

static int watch(struct poller *poller, struct connection *connection, uint32_t events)
{
    struct epoll_event event = {.events = events | poller->trigger, .data.ptr = connection};
    if (connection->socket == poller->exclusive) {
        event.events |= EPOLLEXCLUSIVE;
        if (connection->is_watched) { /* the kernel modifies none that is exclusive */
            if (epoll_ctl(poller->epoll, EPOLL_CTL_DEL, connection->socket, NULL) < 0)
                return errno;
            connection->is_watched = false;
        }
    }
    int operation = connection->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(poller->epoll, operation, connection->socket, &event) < 0)
        return errno;
    connection->is_watched = true;
    return 0;
}

static int poller_watch_read(struct poller *poller, struct connection *connection)
{
    return watch(poller, connection, EPOLLIN);
}

static int poller_watch_write(struct poller *poller, struct connection *connection)
{
    return watch(poller, connection, EPOLLOUT);
}

static void poller_forget(struct poller *poller, struct connection *connection)
{
    int failed = epoll_ctl(poller->epoll, EPOLL_CTL_DEL, connection->socket, NULL);
    assert(!failed);
    (void)failed;
}

static int poller_wait(struct poller *poller)
{
    int ready_count = epoll_wait(poller->epoll, poller->events, EVENTS_PER_WAIT, -1);
    if (ready_count >= 0)
        return ready_count;
    return errno == EINTR ? 0 : -errno;
}

static struct connection *poller_ready(struct poller *poller, int index)
{
    return poller->events[index].data.ptr;
}

EXPORT int serve_epoll(socket_t listener, socket_t stop, const struct serve_options *options,
                       struct serve_counters *counters)
{
    bool edge_triggered = options->edge_triggered != 0;
    struct poller poller = {.trigger = edge_triggered ? EPOLLET : 0,
                            .exclusive = options->exclusive ? listener : -1};
    poller.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (poller.epoll < 0)
        return errno;
    int error = serve(&poller, edge_triggered, listener, stop, options, counters);
    (void)close(poller.epoll);
    return error;
}

#endif
