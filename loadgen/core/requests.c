/* Connections, and the requests on them: what starts, what comes back, what fails.
 *
 * Closed loop: each connection has `depth` requests in flight; the echo of one, whole and compared, starts
 * the next. Open loop: a request starts when it is due; where its connection still waits for an echo it joins
 * a queue there, and its response time counts from when it was due.
 *
 * A connection lives until it fails, or for a number of requests, after which it is closed and opened again
 * (churn). Sequence numbers go on over its lives, so that a late echo of an earlier one is a mismatch; each
 * life takes `life_of` of them, also where it ended early.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

/* Looking at every connection for one that waits too long takes 50 us with 10 000 of them. */
#define TIMEOUT_SCAN_NS (100 * NS_PER_MS)

/* --- lives --- */

/* Requests after which a connection is closed; 0: never. */
static uint32_t life_of(const struct engine *engine, const struct connection *connection)
{
    if (is_active(engine, connection))
        return engine->options.requests_per_connection;
    return is_newcomer(engine, connection) ? 1 : 0;
}

/* The sequence number at which the life that message `sequence` belongs to ends. Of an open connection that
 * is the first one that isn't completed: the next one to start may be the first that is not its own. */
static uint64_t life_end(const struct engine *engine, const struct connection *connection, uint64_t sequence)
{
    uint32_t life = engine->has_lives ? life_of(engine, connection) : 0;
    return life ? (sequence / life + 1) * life : UINT64_MAX;
}

static bool is_first_of_life(const struct engine *engine, const struct connection *connection)
{
    uint32_t life = engine->has_lives ? life_of(engine, connection) : 0;
    return life ? connection->completed % life == 0 : connection->completed == 0;
}

/* It has come, or never will. */
static void first_echo_is_over(struct engine *engine)
{
    assert(engine->connecting > 0);
    engine->connecting--;
}

/* Connect and first-echo times are of the population that is asked about: newcomers where there are any, the
 * lives that began in a measured window with churn, else all that were opened at the beginning. */
static bool counts_opening(const struct engine *engine, const struct connection *connection)
{
    if (engine->options.newcomers_per_s > 0 && !is_newcomer(engine, connection))
        return false;
    if (!engine->has_lives)
        return is_active(engine, connection);
    return engine->window.measured && window_holds(&engine->window, connection->last_completed_ns);
}

/* --- starting --- */

/* From when on a request's response time counts. */
static uint64_t begun_at(const struct engine *engine, const struct connection *connection, uint64_t sequence)
{
    uint64_t place = start_place(engine, connection, sequence);
    return engine->open_loop ? engine->intended_ns[place] : engine->starts_ns[place];
}

/* Whoever calls it sends: several requests at once where several are started. */
static void start(struct engine *engine, struct connection *connection, uint64_t intended_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t place = start_place(engine, connection, connection->started);
    engine->starts_ns[place] = now_ns;
    if (engine->open_loop)
        engine->intended_ns[place] = intended_ns;
    else if (is_active(engine, connection))
        window_started(engine, now_ns);
    connection->started++;
    window_in_flight(engine, 1, now_ns);
}

static bool may_start(const struct engine *engine, const struct connection *connection, uint64_t life_end_at)
{
    return connection->state == CONNECTION_OPEN && connection->started < life_end_at &&
           connection->started - connection->completed < engine->options.depth;
}

void connection_start(struct engine *engine, struct connection *connection, uint32_t requests)
{
    uint64_t end = life_end(engine, connection, connection->completed), before = connection->started;
    for (uint32_t i = 0; i < requests && may_start(engine, connection, end); i++)
        start(engine, connection, 0);
    if (connection->started > before)
        poller_send(engine, connection);
}

void connection_open(struct engine *engine, struct connection *connection)
{
    assert(connection->state == CONNECTION_NEW);
    connection->state = CONNECTION_CONNECTING;
    connection->last_completed_ns = clock_monotonic_ns();
    engine->connecting++;
    poller_connect(engine, connection);
}

/* What a connection that is free does next: send what waits, or with churn connect again. */
static void go_on(struct engine *engine, struct connection *connection)
{
    if (!engine->load_on || !is_active(engine, connection))
        return;
    if (connection->state == CONNECTION_NEW) {
        bool wanted = !engine->open_loop || engine->backlog.connections[connection->index].count > 0;
        if (wanted && poller_is_vacant(engine, connection))
            connection_open(engine, connection);
        return;
    }
    if (!engine->open_loop)
        return;
    uint64_t end = life_end(engine, connection, connection->completed);
    while (engine->backlog.connections[connection->index].count > 0 && may_start(engine, connection, end)) {
        start(engine, connection, backlog_pop(&engine->backlog, connection->index));
        poller_send(engine, connection);
    }
}

/* It took at least as long as it has waited. */
static void give_up(struct engine *engine, uint64_t intended_ns, uint64_t now_ns)
{
    /* A warm-up may end before all that it asked for was sent. */
    engine->totals.errors[FAILURE_BACKLOG] += engine->load_on || engine->window.measured;
    window_abandoned(engine, intended_ns, now_ns > intended_ns ? now_ns - intended_ns : 1);
}

static void give_up_first(struct engine *engine, uint32_t connection, uint64_t now_ns)
{
    give_up(engine, backlog_pop(&engine->backlog, connection), now_ns);
}

void connection_arrival(struct engine *engine, struct connection *connection, uint64_t intended_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    window_started(engine, intended_ns);
    const struct waiting *waiting = &engine->backlog.connections[connection->index];
    uint64_t end = life_end(engine, connection, connection->completed);
    if (waiting->count == 0 && may_start(engine, connection, end)) {
        if (window_holds(&engine->window, intended_ns) && engine->window.measured)
            histogram_record(engine->histograms[HISTOGRAM_LATENESS], now_ns - intended_ns);
        start(engine, connection, intended_ns);
        poller_send(engine, connection);
        return;
    }
    /* The oldest goes: the newest would enter the percentiles as if it hadn't waited at all. */
    if (waiting->count >= engine->options.backlog)
        give_up_first(engine, connection->index, now_ns);
    if (!backlog_push(&engine->backlog, connection->index, intended_ns))
        give_up(engine, intended_ns, now_ns);
    go_on(engine, connection);
}

/* --- coming back --- */

void engine_connected(struct engine *engine, struct connection *connection)
{
    assert(connection->state == CONNECTION_CONNECTING);
    if (counts_opening(engine, connection))
        histogram_record(engine->histograms[HISTOGRAM_CONNECT_TIME],
                         clock_monotonic_ns() - connection->last_completed_ns);
    connection->state = CONNECTION_OPEN;
    engine->totals.lives++;
    if (is_active(engine, connection)) {
        engine->open++;
        if (engine->totals.connections_opened < engine->options.connections && connection->completed == 0)
            engine->totals.connections_opened++;
    } else if (!is_newcomer(engine, connection)) {
        engine->idle_open++;
        engine->totals.idle_opened++;
    }
    /* At the opening each has one echo; in an open loop the requests that are due wait in the backlog. */
    if (engine->open_loop && engine->load_on && is_active(engine, connection))
        go_on(engine, connection);
    else
        connection_start(engine, connection, engine->load_on ? engine->options.depth : 1);
}

/* The first requests of a load are sampled, mostly those of the warm-up, and then no more: while one socket
 * of the machine has stamps, every packet of every socket is stamped, which took 2 to 4 % of the request
 * rate. */
static void sample_stamp(struct engine *engine, uint64_t response_ns, uint64_t in_client_ns)
{
    if (engine->totals.stamp_samples == STAMP_SAMPLES)
        return;
    engine->stamps[engine->totals.stamp_samples++] =
        (struct stamp_sample){.response_ns = response_ns, .in_client_ns = in_client_ns};
    if (engine->totals.stamp_samples == STAMP_SAMPLES)
        poller_stop_stamps(engine);
}

static void close_between_lives(struct engine *engine, struct connection *connection)
{
    if (is_active(engine, connection))
        engine->open--;
    connection->state = CONNECTION_NEW;
    poller_disconnect(engine, connection, engine->options.close_by_reset);
    if (poller_is_vacant(engine, connection))
        engine_vacant(engine, connection);
}

/* Whether the connection's life ended with it. */
static bool complete(struct engine *engine, struct connection *connection, uint64_t now_ns,
                     uint64_t in_client_ns)
{
    uint64_t place = start_place(engine, connection, connection->completed);
    uint64_t sent_ns = engine->starts_ns[place];
    uint64_t intended_ns = engine->open_loop ? engine->intended_ns[place] : sent_ns;
    if (is_first_of_life(engine, connection)) {
        if (counts_opening(engine, connection))
            histogram_record(engine->histograms[HISTOGRAM_FIRST_ECHO_TIME],
                             now_ns - connection->last_completed_ns);
        first_echo_is_over(engine);
        engine->connects_without_echo = 0;
    }
    connection->completed++;
    connection->received_bytes = 0;
    engine->totals.echoes_ever++;
    if (in_client_ns && sent_ns >= engine->stamps_from_ns)
        sample_stamp(engine, now_ns - sent_ns, in_client_ns);
    window_in_flight(engine, -1, now_ns);
    bool active = is_active(engine, connection);
    if (active)
        window_completed(engine, connection, intended_ns, sent_ns, now_ns);
    if (engine->has_lives && connection->completed == connection->started &&
        connection->completed == life_end(engine, connection, connection->completed - 1)) {
        close_between_lives(engine, connection);
        return true;
    }
    if (engine->open_loop)
        go_on(engine, connection);
    return false;
}

void connection_sent(struct engine *engine, struct connection *connection, size_t bytes)
{
    engine->totals.bytes_sent_ever += bytes;
    uint64_t written = connection->written_bytes + bytes;
    connection->written += written / engine->options.message_bytes;
    connection->written_bytes = (uint32_t)(written % engine->options.message_bytes);
}

void engine_received(struct engine *engine, struct connection *connection, const uint8_t *bytes, size_t count,
                     uint64_t in_client_ns)
{
    const uint32_t message_bytes = engine->options.message_bytes;
    engine->totals.bytes_received_ever += count;
    /* Before the comparison: a request ends with the read of its last byte. */
    uint64_t now_ns = connection->received_bytes + count >= message_bytes ? clock_monotonic_ns() : 0;
    while (count > 0) {
        if (connection->completed == connection->started)
            return engine_lost(engine, connection, FAILURE_MISMATCH);
        size_t part = message_bytes - connection->received_bytes;
        if (part > count)
            part = count;
        const uint8_t *expected = message_of(engine, connection, connection->completed);
        if (memcmp(bytes, expected + connection->received_bytes, part) != 0)
            return engine_lost(engine, connection, FAILURE_MISMATCH);
        connection->received_bytes += (uint32_t)part;
        bytes += part;
        count -= part;
        if (connection->received_bytes == message_bytes &&
            complete(engine, connection, now_ns, in_client_ns)) {
            engine->totals.errors[FAILURE_MISMATCH] += count > 0; /* bytes that nobody asked for */
            return;
        }
        if (connection->state != CONNECTION_OPEN)
            return;
    }
    /* What a pipeline gets with one read it sends with one write, as clients that pipeline do. */
    if (!engine->open_loop && engine->load_on && is_active(engine, connection))
        connection_start(engine, connection, engine->options.depth);
}

/* --- failing --- */

/* An active connection gets no arrivals any more. */
static void leave_the_open(struct engine *engine, const struct connection *connection)
{
    uint32_t place = engine->place_of[connection->index];
    uint32_t last = engine->open_ones[engine->alive];
    engine->open_ones[place] = last;
    engine->place_of[last] = place;
}

/* Whether a failed connection is opened again: with churn, and newcomers' places serve others. */
static bool is_reopened(const struct engine *engine, const struct connection *connection)
{
    return engine->has_lives && life_of(engine, connection) > 0;
}

void engine_lost(struct engine *engine, struct connection *connection, enum failure failure)
{
    assert(connection->state == CONNECTION_CONNECTING || connection->state == CONNECTION_OPEN);
    uint64_t now_ns = clock_monotonic_ns();
    bool active = is_active(engine, connection), open = connection->state == CONNECTION_OPEN;
    bool late = failure == FAILURE_RESPONSE_TIMEOUT || failure == FAILURE_CONNECT_TIMEOUT;
    engine->totals.errors[failure]++;
    if (is_first_of_life(engine, connection)) {
        first_echo_is_over(engine);
        engine->connects_without_echo += late;
        /* It took at least so long. At the opening nobody has asked for it before there is load. */
        if (late && engine->has_lives && counts_opening(engine, connection))
            histogram_record(engine->histograms[HISTOGRAM_FIRST_ECHO_TIME],
                             now_ns - connection->last_completed_ns);
    }
    if (open && active)
        engine->open--;
    else if (open && !is_newcomer(engine, connection))
        engine->idle_open--;
    if (engine->open < engine->window.open_min && !is_reopened(engine, connection))
        engine->window.open_min = engine->open;
    for (uint64_t i = connection->completed; i < connection->started; i++) {
        uint64_t begun_ns = begun_at(engine, connection, i);
        if (active)
            window_abandoned(engine, begun_ns, late ? now_ns - begun_ns : 0);
        window_in_flight(engine, -1, now_ns);
    }
    if (is_reopened(engine, connection)) {
        connection->completed = life_end(engine, connection, connection->completed);
        connection->started = connection->written = connection->completed;
        connection->written_bytes = connection->received_bytes = 0;
        connection->state = CONNECTION_NEW;
        poller_disconnect(engine, connection, true);
        /* An active one is tried again at the next scan: at once it would spin on whatever failed. */
        if (!active && poller_is_vacant(engine, connection))
            engine_vacant(engine, connection);
        return;
    }
    connection->state = CONNECTION_CLOSED;
    engine->alive -= active;
    poller_disconnect(engine, connection, false);
    if (!active || !engine->open_loop)
        return;
    while (engine->backlog.connections[connection->index].count > 0)
        give_up_first(engine, connection->index, now_ns);
    leave_the_open(engine, connection);
}

void engine_vacant(struct engine *engine, struct connection *connection)
{
    if (connection->state != CONNECTION_NEW)
        return;
    if (is_newcomer(engine, connection))
        engine->free_newcomers[engine->free_newcomer_count++] = connection->index;
    else
        go_on(engine, connection);
}

void connection_scan(struct engine *engine, uint64_t now_ns)
{
    uint64_t timeout_ns = engine->options.response_timeout_ns;
    if (now_ns < engine->next_timeout_scan_ns)
        return;
    engine->next_timeout_scan_ns =
        now_ns + (timeout_ns / 4 < TIMEOUT_SCAN_NS ? timeout_ns / 4 : TIMEOUT_SCAN_NS);
    for (uint32_t i = 0; i < engine->slots; i++) {
        struct connection *connection = &engine->connections[i];
        if (connection->state == CONNECTION_CONNECTING) {
            if (now_ns - connection->last_completed_ns >= timeout_ns)
                engine_lost(engine, connection, FAILURE_CONNECT_TIMEOUT);
        } else if (connection_is_waiting(connection)) {
            uint64_t place = start_place(engine, connection, connection->completed);
            if (now_ns - engine->starts_ns[place] >= timeout_ns)
                engine_lost(engine, connection, FAILURE_RESPONSE_TIMEOUT);
        } else if (connection->state == CONNECTION_NEW && engine->has_lives) {
            go_on(engine, connection);
        }
    }
}

void connection_not_sent(struct engine *engine, uint64_t intended_ns, uint64_t now_ns)
{
    window_started(engine, intended_ns);
    give_up(engine, intended_ns, now_ns);
}

void connection_give_up_backlog(struct engine *engine, uint64_t now_ns)
{
    for (uint32_t i = 0; engine->backlog.count > 0 && i < engine->options.connections; i++) {
        while (engine->backlog.connections[i].count > 0) {
            uint64_t intended_ns = backlog_pop(&engine->backlog, i);
            if (window_holds(&engine->window, intended_ns)) /* what was due after it was never asked for */
                give_up(engine, intended_ns, now_ns);
        }
    }
}

void connection_cut_off(struct engine *engine, uint64_t now_ns)
{
    for (uint32_t i = 0; i < engine->slots; i++) {
        struct connection *connection = &engine->connections[i];
        if (connection->state != CONNECTION_CONNECTING && !connection_is_waiting(connection))
            continue;
        bool active = is_active(engine, connection);
        for (uint64_t sequence = connection->completed; sequence < connection->started; sequence++) {
            uint64_t begun_ns = begun_at(engine, connection, sequence);
            bool counts = active && window_holds(&engine->window, begun_ns);
            if (counts)
                window_abandoned(engine, begun_ns, now_ns - begun_ns);
            engine->totals.errors[FAILURE_RESPONSE_TIMEOUT] += counts;
            engine->totals.unfinished += !counts;
            window_in_flight(engine, -1, now_ns);
        }
        if (is_first_of_life(engine, connection))
            first_echo_is_over(engine);
        engine->open -= active && connection->state == CONNECTION_OPEN;
        engine->alive -= active;
        connection->state = CONNECTION_CLOSED;
        poller_disconnect(engine, connection, false);
    }
}
