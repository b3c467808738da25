/* poll. Linux. The twin of poll.py, which says what sets it apart. */

#if defined(__linux__)

#include "readiness/pollfds.h"

static int poller_wait(struct poller *poller)
{
    int ready_count = poll(poller->watched, poller->count, -1);
    if (ready_count < 0)
        return errno == EINTR ? 0 : -errno;
    return pollfds_found(poller, ready_count);
}

EXPORT int serve_poll(socket_t listener, socket_t stop, const struct serve_options *options,
                      struct serve_counters *counters)
{
    struct poller poller = {0};
    int error = serve(&poller, false, listener, stop, options, counters);
    pollfds_free(&poller);
    return error;
}

#endif
