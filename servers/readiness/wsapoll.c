/* WSAPoll. Windows. The twin of wsapoll.py, which says what sets it apart. */

#if defined(_WIN32)

#include "readiness/pollfds.h"

enum {
    WITHOUT_LIMIT_MS = -1,
    HUNG_UP_PAUSE_MS = 10, /* a peer that reads again waits no longer; 100 looks a second cost nothing */
};

/* Whether a socket that is to be written to can't be, and hasn't failed: it is only half-closed. */
static bool is_useless(const struct pollfd *watched)
{
    return watched->events == POLLOUT && (watched->revents & (POLLOUT | POLLERR | POLLNVAL)) == 0;
}

static int poll_once(struct poller *poller, int timeout_ms)
{
    int ready_count = socket_poll(poller->watched, poller->count, timeout_ms);
    return ready_count < 0 ? -socket_error() : pollfds_found(poller, ready_count);
}

/* Wait a moment for all but the `useless_count` that were found: who else is ready, and how many. */
static int poll_without(struct poller *poller, int useless_count)
{
    for (int i = 0; i < useless_count; i++)
        poller->watched[poller->ready[i]->place].fd = NO_SOCKET; /* negative: passed over */
    int found = poll_once(poller, HUNG_UP_PAUSE_MS);
    int others = 0;
    for (int i = 0; i < found; i++) /* Windows may give an answer, POLLNVAL, to those as well */
        if (poller->watched[poller->ready[i]->place].fd != NO_SOCKET)
            poller->ready[others++] = poller->ready[i];
    for (uint32_t i = 0; i < poller->count; i++)
        poller->watched[i].fd = poller->connections[i]->socket;
    return found < 0 ? found : others;
}

static int poller_wait(struct poller *poller)
{
    int found = poll_once(poller, WITHOUT_LIMIT_MS), useless_count = 0;
    for (int i = 0; i < found; i++)
        useless_count += is_useless(&poller->watched[poller->ready[i]->place]);
    return found > 0 && useless_count == found ? poll_without(poller, useless_count) : found;
}

EXPORT int serve_wsapoll(socket_t listener, socket_t stop, const struct serve_options *options,
                         struct serve_counters *counters)
{
    struct poller poller = {0};
    int error = serve(&poller, false, listener, stop, options, counters);
    pollfds_free(&poller);
    return error;
}

#endif
