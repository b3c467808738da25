/* select with sets of our own. Windows. The twin of raw_select.py, and of select.py there.

   An fd_set is a count and an array, so its size is whatever its maker gives it. With fd_set=python it has
   room for as many sockets as Python's: what is over it is closed at once, and counted. */

#if defined(_WIN32)

#include "sockets.h"

enum {
    PYTHON_FD_SETSIZE = 512,
    CAPACITY_AT_FIRST = 64,
};

/* What the system is given: an fd_set with room for more, or fewer. */
struct sockets {
    u_int count;
    socket_t sockets[];
};

struct set {
    struct sockets *watched;
    struct sockets *ready; /* a copy that the system overwrites with what is ready */
    struct connection **connections; /* whose each of `watched` is */
    u_int capacity;
};

struct poller {
    struct set readers, writers;
    struct connection **ready;
    u_int ready_capacity;
    u_int sockets_max;
};

#include "readiness/loop.h"

_Static_assert(offsetof(struct sockets, sockets) == offsetof(fd_set, fd_array), "as the system has it");

static u_int count(const struct set *set)
{
    return set->watched != NULL ? set->watched->count : 0;
}

/* `sockets` with room for so many: NULL, and as it was, where there is no memory. */
static struct sockets *resized(struct sockets *sockets, u_int capacity)
{
    struct sockets *larger = realloc(sockets, sizeof *sockets + capacity * sizeof sockets->sockets[0]);
    if (larger != NULL && sockets == NULL)
        larger->count = 0;
    return larger;
}

/* Make room for one more: 0 or OUT_OF_MEMORY. */
static int grow(struct set *set)
{
    if (count(set) < set->capacity)
        return 0;
    u_int capacity = set->capacity != 0 ? 2 * set->capacity : CAPACITY_AT_FIRST;
    struct sockets *watched = resized(set->watched, capacity);
    if (watched == NULL)
        return OUT_OF_MEMORY;
    set->watched = watched;
    struct sockets *ready = resized(set->ready, capacity);
    if (ready == NULL)
        return OUT_OF_MEMORY;
    set->ready = ready;
    void *connections = realloc(set->connections, capacity * sizeof *set->connections);
    if (connections == NULL)
        return OUT_OF_MEMORY;
    set->connections = connections;
    set->capacity = capacity;
    return 0;
}

/* Room for all that may be ready at once: 0 or OUT_OF_MEMORY. */
static int grow_ready(struct poller *poller)
{
    u_int capacity = poller->readers.capacity + poller->writers.capacity;
    if (capacity <= poller->ready_capacity)
        return 0;
    void *ready = realloc(poller->ready, capacity * sizeof *poller->ready);
    if (ready == NULL)
        return OUT_OF_MEMORY;
    poller->ready = ready;
    poller->ready_capacity = capacity;
    return 0;
}

static bool has(const struct set *set, const struct connection *connection)
{
    return connection->place < count(set) && set->connections[connection->place] == connection;
}

static void discard(struct set *set, struct connection *connection)
{
    if (!has(set, connection))
        return;
    u_int place = connection->place, last = --set->watched->count;
    set->watched->sockets[place] = set->watched->sockets[last];
    set->connections[place] = set->connections[last];
    set->connections[place]->place = place;
}

static int watch(struct poller *poller, struct connection *connection, struct set *wanted, struct set *other)
{
    if (has(wanted, connection))
        return 0;
    if (!has(other, connection) && count(wanted) + count(other) >= poller->sockets_max)
        return FD_SETSIZE_EXCEEDED; /* the system has no code for it */
    int error = grow(wanted);
    if (error == 0)
        error = grow_ready(poller);
    if (error != 0)
        return error;
    discard(other, connection);
    connection->place = wanted->watched->count++;
    wanted->watched->sockets[connection->place] = connection->socket;
    wanted->connections[connection->place] = connection;
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
    discard(&poller->readers, connection);
    discard(&poller->writers, connection);
}

/* The copy that the system may overwrite; NULL where nothing is watched. */
static fd_set *copied(struct set *set)
{
    if (count(set) == 0)
        return NULL;
    set->ready->count = set->watched->count;
    memcpy(set->ready->sockets, set->watched->sockets, set->watched->count * sizeof set->watched->sockets[0]);
    return (fd_set *)set->ready;
}

/* Whose sockets the system has left in the copy, from `ready` on: how many those are. */
static int found_in(const struct set *set, struct connection **ready)
{
    u_int watched_count = set->watched->count, place = 0;
    for (u_int i = 0; i < set->ready->count; i++) {
        /* It leaves them in their order, so this goes through the set once; and finds them in any other. */
        while (set->watched->sockets[place] != set->ready->sockets[i])
            place = place + 1 < watched_count ? place + 1 : 0;
        ready[i] = set->connections[place];
    }
    return (int)set->ready->count;
}

static int poller_wait(struct poller *poller)
{
    fd_set *readers = copied(&poller->readers), *writers = copied(&poller->writers);
    if (select(0, readers, writers, NULL, NULL) < 0)
        return -socket_error();
    int found = readers != NULL ? found_in(&poller->readers, poller->ready) : 0;
    return writers != NULL ? found + found_in(&poller->writers, poller->ready + found) : found;
}

static struct connection *poller_ready(struct poller *poller, int index)
{
    return poller->ready[index];
}

static void set_free(struct set *set)
{
    free(set->watched);
    free(set->ready);
    free(set->connections);
}

EXPORT int serve_select(socket_t listener, socket_t stop, const struct serve_options *options,
                        struct serve_counters *counters)
{
    struct poller poller = {.sockets_max = options->raw_fd_set ? UINT32_MAX : PYTHON_FD_SETSIZE};
    int error = serve(&poller, false, listener, stop, options, counters);
    set_free(&poller.readers);
    set_free(&poller.writers);
    free(poller.ready);
    return error;
}

#endif
