/* select. Linux; raw_select.c is that of Windows. The twin of select.py, which says what sets it apart.

   A descriptor from FD_SETSIZE up has no place in the set, as in Python: such a connection is closed at once,
   and counted. */

#if defined(__linux__)

#include <limits.h>
#include <stdint.h>
#include <sys/select.h>

enum {
    WORD_BITS = sizeof(unsigned long) * CHAR_BIT,
    WORDS = FD_SETSIZE / WORD_BITS,
};

/* A set as the words that it consists of: those without a bit are passed over at once. */
union set {
    fd_set set;
    unsigned long words[WORDS];
};
_Static_assert(sizeof(union set) == sizeof(fd_set), "a set is an array of long");

struct poller {
    union set readers, writers, readable, writable;
    int highest; /* descriptor ever watched */
    struct connection *by_descriptor[FD_SETSIZE];
    struct connection *ready[FD_SETSIZE];
};

#include "readiness/loop.h"

static int watch(struct poller *poller, struct connection *connection, union set *wanted, union set *other)
{
    int fd = connection->socket;
    if (fd >= FD_SETSIZE)
        return FD_SETSIZE_EXCEEDED; /* the system has no code for it */
    FD_SET(fd, &wanted->set);
    FD_CLR(fd, &other->set);
    poller->by_descriptor[fd] = connection;
    if (fd > poller->highest)
        poller->highest = fd;
    return 0;
}

static int poller_watch_read(struct poller *poller, struct connection *connection)
{
    return watch(poller, connection, &poller->readers, &poller->writers);
}

static int poller_watch_write(struct poller *poller, struct connection *connection)
{
    return watch(poller, connection, &poller->writers, &poller->readers);
}

static void poller_forget(struct poller *poller, struct connection *connection)
{
    FD_CLR(connection->socket, &poller->readers.set);
    FD_CLR(connection->socket, &poller->writers.set);
}

static int poller_wait(struct poller *poller)
{
    int words = poller->highest / WORD_BITS + 1;
    for (int i = 0; i < words; i++) {
        poller->readable.words[i] = poller->readers.words[i];
        poller->writable.words[i] = poller->writers.words[i];
    }
    int ready_count = select(poller->highest + 1, &poller->readable.set, &poller->writable.set, NULL, NULL);
    if (ready_count < 0)
        return errno == EINTR ? 0 : -errno;
    int found = 0;
    for (int i = 0; i < words && found < ready_count; i++) {
        unsigned long bits = poller->readable.words[i] | poller->writable.words[i];
        for (; bits != 0; bits &= bits - 1)
            poller->ready[found++] = poller->by_descriptor[i * WORD_BITS + __builtin_ctzl(bits)];
    }
    return found;
}

static struct connection *poller_ready(struct poller *poller, int index)
{
    return poller->ready[index];
}

EXPORT int serve_select(socket_t listener, socket_t stop, const struct serve_options *options,
                        struct serve_counters *counters)
{
    struct poller *poller = calloc(1, sizeof *poller);
    if (poller == NULL)
        return ENOMEM;
    int error = serve(poller, false, listener, stop, options, counters);
    free(poller);
    return error;
}

#endif
