/* The array that poll and WSAPoll are given, and whose connection each entry is: a poller for loop.h, all but
   poller_wait. */

#ifndef SERVERS_READINESS_POLLFDS_H
#define SERVERS_READINESS_POLLFDS_H

#include "sockets.h"

struct poller {
    struct pollfd *watched;
    struct connection **connections; /* whose each entry of `watched` is */
    struct connection **ready;
    uint32_t count, capacity;
};

#include "readiness/loop.h"

enum { CAPACITY_AT_FIRST = 64 };

/* Make room for one more: 0 or OUT_OF_MEMORY. */
static int grow(struct poller *poller)
{
    if (poller->count < poller->capacity)
        return 0;
    uint32_t capacity = poller->capacity != 0 ? 2 * poller->capacity : CAPACITY_AT_FIRST;
    void *watched = realloc(poller->watched, capacity * sizeof *poller->watched);
    if (watched == NULL)
        return OUT_OF_MEMORY;
    poller->watched = watched;
    void *connections = realloc(poller->connections, capacity * sizeof *poller->connections);
    if (connections == NULL)
        return OUT_OF_MEMORY;
    poller->connections = connections;
    void *ready = realloc(poller->ready, capacity * sizeof *poller->ready);
    if (ready == NULL)
        return OUT_OF_MEMORY;
    poller->ready = ready;
    poller->capacity = capacity;
    return 0;
}

static int watch(struct poller *poller, struct connection *connection, short events)
{
    if (!connection->is_watched) {
        int error = grow(poller);
        if (error != 0)
            return error;
        connection->is_watched = true;
        connection->place = poller->count++;
        poller->connections[connection->place] = connection;
    }
    poller->watched[connection->place] = (struct pollfd){.fd = connection->socket, .events = events};
    return 0;
}

static int poller_watch_read(struct poller *poller, struct connection *connection)
{
    return watch(poller, connection, READABLE);
}

static int poller_watch_write(struct poller *poller, struct connection *connection)
{
    return watch(poller, connection, POLLOUT);
}

static void poller_forget(struct poller *poller, struct connection *connection)
{
    uint32_t last = --poller->count, place = connection->place;
    poller->watched[place] = poller->watched[last];
    poller->connections[place] = poller->connections[last];
    poller->connections[place]->place = place;
    connection->is_watched = false;
}

/* Collect the `ready_count` connections whose entries have an answer: how many those are. */
static int pollfds_found(struct poller *poller, int ready_count)
{
    int found = 0;
    for (uint32_t i = 0; i < poller->count && found < ready_count; i++)
        if (poller->watched[i].revents != 0)
            poller->ready[found++] = poller->connections[i];
    return found;
}

static struct connection *poller_ready(struct poller *poller, int index)
{
    return poller->ready[index];
}

static void pollfds_free(struct poller *poller)
{
    free(poller->watched);
    free(poller->connections);
    free(poller->ready);
}

#endif
