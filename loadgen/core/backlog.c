/* Requests that are due and wait for their connection: a queue for each, all in one pool of nodes. */
#include "core.h"

#include <stdlib.h>

#define NONE UINT32_MAX

struct backlog_node {
    uint64_t intended_ns;
    uint32_t next;
};

int backlog_open(struct backlog *backlog, uint32_t connections)
{
    *backlog = (struct backlog){.free = NONE};
    backlog->connections = malloc((size_t)connections * sizeof *backlog->connections);
    if (backlog->connections == NULL)
        return OUT_OF_MEMORY;
    for (uint32_t i = 0; i < connections; i++)
        backlog->connections[i] = (struct waiting){.first = NONE, .last = NONE};
    return 0;
}

void backlog_close(struct backlog *backlog)
{
    free(backlog->connections);
    free(backlog->nodes);
    *backlog = (struct backlog){.free = NONE};
}

static uint32_t take_node(struct backlog *backlog)
{
    uint32_t node = backlog->free;
    if (node != NONE) {
        backlog->free = backlog->nodes[node].next;
        return node;
    }
    if (backlog->used == backlog->capacity) {
        uint32_t capacity = backlog->capacity ? 2 * backlog->capacity : 4096;
        struct backlog_node *nodes =
            capacity ? realloc(backlog->nodes, (size_t)capacity * sizeof *nodes) : NULL;
        if (nodes == NULL)
            return NONE;
        backlog->nodes = nodes;
        backlog->capacity = capacity;
    }
    return backlog->used++;
}

bool backlog_push(struct backlog *backlog, uint32_t connection, uint64_t intended_ns)
{
    uint32_t node = take_node(backlog);
    if (node == NONE)
        return false;
    backlog->nodes[node] = (struct backlog_node){.intended_ns = intended_ns, .next = NONE};
    struct waiting *waiting = &backlog->connections[connection];
    if (waiting->count == 0)
        waiting->first = node;
    else
        backlog->nodes[waiting->last].next = node;
    waiting->last = node;
    waiting->count++;
    backlog->count++;
    return true;
}

uint64_t backlog_pop(struct backlog *backlog, uint32_t connection)
{
    struct waiting *waiting = &backlog->connections[connection];
    assert(waiting->count > 0);
    uint32_t node = waiting->first;
    waiting->first = backlog->nodes[node].next;
    waiting->count--;
    backlog->count--;
    backlog->nodes[node].next = backlog->free;
    backlog->free = node;
    return backlog->nodes[node].intended_ns;
}
