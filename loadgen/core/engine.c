/* Connections and requests: the closed loop.
 *
 * Each connection has `depth` requests in flight; the echo of one, whole and compared, starts the next. A
 * connection that fails stays closed, and is counted. A run and a slice are the same thing here: load comes
 * on, a ramp passes, a window is measured, load goes on until all that was started inside the window is back,
 * then everything drains.
 */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* So many connections may be between connect and first echo at once: enough to keep both sides busy, few
 * enough that a first-echo time is the server's and not the queue of all the others. */
enum { CONNECTING_MAX = 64 };

/* Looking at every connection for one that waits too long takes 50 us with 10 000 of them. */
#define TIMEOUT_SCAN_NS (100 * NS_PER_MS)

/* --- one connection --- */

static uint64_t *start_of(struct engine *engine, const struct connection *connection, uint64_t sequence)
{
    uint32_t depth = engine->options.depth;
    return &engine->starts_ns[(uint64_t)connection->index * depth + (depth > 1 ? sequence % depth : 0)];
}

static void start(struct engine *engine, struct connection *connection)
{
    uint64_t now_ns = clock_monotonic_ns();
    *start_of(engine, connection, connection->started) = now_ns;
    connection->started++;
    window_started(engine, now_ns);
    poller_send(engine, connection);
}

static void start_idle(struct engine *engine, struct connection *connection, uint32_t requests)
{
    for (uint32_t i = 0; i < requests && connection->state == CONNECTION_OPEN; i++) {
        window_in_flight(engine, 1, clock_monotonic_ns());
        start(engine, connection);
    }
}

void engine_connected(struct engine *engine, struct connection *connection)
{
    assert(connection->state == CONNECTION_CONNECTING);
    histogram_record(engine->connect_time, clock_monotonic_ns() - connection->last_completed_ns);
    connection->state = CONNECTION_OPEN;
    engine->open++;
    engine->totals.connections_opened++;
    start_idle(engine, connection, 1);
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

static void complete(struct engine *engine, struct connection *connection, uint64_t now_ns,
                     uint64_t in_client_ns)
{
    uint64_t start_ns = *start_of(engine, connection, connection->completed);
    if (connection->completed == 0) {
        histogram_record(engine->first_echo_time, now_ns - connection->last_completed_ns);
        engine->connecting--;
    }
    connection->completed++;
    connection->received_bytes = 0;
    if (in_client_ns && start_ns >= engine->stamps_from_ns)
        sample_stamp(engine, now_ns - start_ns, in_client_ns);
    window_completed(engine, connection, start_ns, now_ns);
    if (engine->load_on)
        start(engine, connection);
    else
        window_in_flight(engine, -1, now_ns);
}

void engine_received(struct engine *engine, struct connection *connection, const uint8_t *bytes, size_t count,
                     uint64_t in_client_ns)
{
    const uint32_t message_bytes = engine->options.message_bytes;
    engine->window.bytes_received += count;
    /* Before the comparison: a request ends with the read of its last byte. */
    uint64_t now_ns = connection->received_bytes + count >= message_bytes ? clock_monotonic_ns() : 0;
    while (count > 0) {
        if (connection->completed == connection->started)
            return engine_lost(engine, connection, FAILURE_MISMATCH);
        size_t part = message_bytes - connection->received_bytes;
        if (part > count)
            part = count;
        const uint8_t *expected = payload_message(&engine->payload, connection->index, connection->completed);
        if (memcmp(bytes, expected + connection->received_bytes, part) != 0)
            return engine_lost(engine, connection, FAILURE_MISMATCH);
        connection->received_bytes += (uint32_t)part;
        bytes += part;
        count -= part;
        if (connection->received_bytes == message_bytes)
            complete(engine, connection, now_ns, in_client_ns);
        if (connection->state != CONNECTION_OPEN)
            return;
    }
}

void engine_lost(struct engine *engine, struct connection *connection, enum failure failure)
{
    assert(connection->state == CONNECTION_CONNECTING || connection->state == CONNECTION_OPEN);
    uint64_t now_ns = clock_monotonic_ns();
    engine->totals.errors[failure]++;
    if (connection->completed == 0)
        engine->connecting--;
    if (connection->state == CONNECTION_OPEN)
        engine->open--;
    if (engine->open < engine->window.open_min)
        engine->window.open_min = engine->open;
    connection->state = CONNECTION_CLOSED;
    poller_disconnect(engine, connection);
    for (uint64_t i = connection->completed; i < connection->started; i++) {
        uint64_t start_ns = *start_of(engine, connection, i);
        window_abandoned(engine, start_ns, failure == FAILURE_RESPONSE_TIMEOUT ? now_ns - start_ns : 0);
        window_in_flight(engine, -1, now_ns);
    }
}

static void scan_timeouts(struct engine *engine, uint64_t now_ns)
{
    uint64_t timeout_ns = engine->options.response_timeout_ns;
    if (now_ns < engine->next_timeout_scan_ns)
        return;
    engine->next_timeout_scan_ns =
        now_ns + (timeout_ns / 4 < TIMEOUT_SCAN_NS ? timeout_ns / 4 : TIMEOUT_SCAN_NS);
    for (uint32_t i = 0; i < engine->options.connections; i++) {
        struct connection *connection = &engine->connections[i];
        if (connection->state == CONNECTION_CONNECTING) {
            if (now_ns - connection->last_completed_ns >= timeout_ns)
                engine_lost(engine, connection, FAILURE_CONNECT_TIMEOUT);
        } else if (connection->state == CONNECTION_OPEN && connection->completed < connection->started) {
            if (now_ns - *start_of(engine, connection, connection->completed) >= timeout_ns)
                engine_lost(engine, connection, FAILURE_RESPONSE_TIMEOUT);
        }
    }
}

/* --- all connections --- */

/* Wait until `until_ns` at the latest and handle what has come; the time it is then, or 0 with `errno` set.
 */
static uint64_t step(struct engine *engine, uint64_t now_ns, uint64_t until_ns)
{
    if (until_ns > engine->next_timeout_scan_ns)
        until_ns = engine->next_timeout_scan_ns;
    int error = poller_wait(engine, now_ns, until_ns);
    if (error) {
        errno = error;
        return 0;
    }
    now_ns = clock_monotonic_ns();
    /* How old a request is would be judged without having looked whether its echo has come: after a pause of
     * this process, look first. */
    scan_timeouts(engine, now_ns);
    return now_ns;
}

int engine_connect(struct engine *engine)
{
    uint32_t next = 0;
    uint64_t now_ns = clock_monotonic_ns();
    engine->next_timeout_scan_ns = now_ns;
    while (engine->connecting > 0 || (next < engine->options.connections && !engine->stopping)) {
        while (engine->connecting < CONNECTING_MAX && next < engine->options.connections &&
               !engine->stopping) {
            struct connection *connection = &engine->connections[next++];
            connection->state = CONNECTION_CONNECTING;
            connection->last_completed_ns = clock_monotonic_ns();
            engine->connecting++;
            poller_connect(engine, connection);
        }
        if (engine->connecting > 0)
            now_ns = step(engine, now_ns, UINT64_MAX);
        if (now_ns == 0)
            return errno;
    }
    return 0;
}

/* The next moment at which something has to be done even if nothing comes. */
static uint64_t next_boundary_ns(const struct engine *engine)
{
    const struct window *window = &engine->window;
    if (engine->load_on && schedule_pending(engine))
        return 0;
    if (!window->began)
        return window->begin_ns;
    if (window->ended)
        return engine->load_on ? engine->load_until_ns : UINT64_MAX;
    if (engine->series_interval_ns && engine->series_next_ns < window->end_ns)
        return engine->series_next_ns;
    return window->end_ns;
}

/* Whether there is no reason left to keep load on. */
static bool is_collected(const struct engine *engine, uint64_t now_ns)
{
    const struct window *window = &engine->window;
    return window->ended && (window->uncollected == 0 || now_ns >= engine->load_until_ns);
}

static int load(struct engine *engine, uint64_t ramp_ns, uint64_t window_ns, uint64_t linger_ns,
                bool measured, struct slice_result *result)
{
    uint64_t began_ns = clock_monotonic_ns();
    uint64_t now_ns = began_ns;
    window_open(engine, began_ns + ramp_ns, began_ns + ramp_ns + window_ns, measured);
    engine->load_until_ns =
        linger_ns < UINT64_MAX - engine->window.end_ns ? engine->window.end_ns + linger_ns : UINT64_MAX;
    schedule_begin(engine, began_ns, ramp_ns);
    engine->next_timeout_scan_ns = began_ns; /* nothing was looked at since the last slice */
    engine->stamps_from_ns = began_ns + ramp_ns / 2;
    engine->load_on = true;
    while (engine->load_on || engine->in_flight > 0) {
        for (uint32_t due = engine->load_on ? schedule_due(engine, now_ns) : 0; due > 0; due--)
            start_idle(engine, &engine->connections[engine->schedule.next++], engine->options.depth);
        now_ns = step(engine, now_ns, next_boundary_ns(engine));
        if (now_ns == 0)
            return errno;
        window_check(engine, now_ns);
        if (engine->open == 0 || engine->stopping)
            window_end_now(engine, now_ns);
        if (engine->load_on && is_collected(engine, now_ns)) {
            engine->load_on = false;
            engine->window.censored = engine->window.uncollected;
        }
    }
    window_close(engine, result);
    result->span_ns = clock_monotonic_ns() - began_ns;
    return 0;
}

/* --- what Python calls --- */

/* A connection has the size of a cache line, but takes one only where the first of them begins one. */
static struct connection *on_cache_line(void *block)
{
    static_assert(sizeof(struct connection) == CACHE_LINE_BYTES, "a connection is one cache line");
    uintptr_t address = (uintptr_t)block;
    return (struct connection *)((address + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES);
}

int engine_open(const struct engine_options *options, struct engine **opened)
{
    assert(options->connections > 0 && options->message_bytes > 0 && options->depth > 0);
    struct engine *engine = calloc(1, sizeof *engine);
    *opened = engine;
    if (engine == NULL)
        return OUT_OF_MEMORY;
    engine->options = *options;
    engine->stamps_from_ns = UINT64_MAX; /* not while connecting */
    size_t starts = (size_t)options->connections * options->depth;
    engine->block = calloc(options->connections + 1, sizeof *engine->connections);
    engine->connections = on_cache_line(engine->block);
    engine->starts_ns = calloc(starts, sizeof *engine->starts_ns);
    engine->response_time = calloc(1, sizeof *engine->response_time);
    engine->connect_time = calloc(1, sizeof *engine->connect_time);
    engine->first_echo_time = calloc(1, sizeof *engine->first_echo_time);
    engine->interval = calloc(1, sizeof *engine->interval);
    engine->series = calloc(SERIES_MAX, sizeof *engine->series);
    engine->stamps = calloc(STAMP_SAMPLES, sizeof *engine->stamps);
    if (!engine->block || !engine->starts_ns || !engine->response_time || !engine->connect_time ||
        !engine->first_echo_time || !engine->interval || !engine->series || !engine->stamps)
        return OUT_OF_MEMORY;
    for (uint32_t i = 0; i < options->connections; i++)
        engine->connections[i].index = i;
    engine->totals.connections_open_min = options->connections;
    int error = payload_open(&engine->payload, options->message_bytes, options->seed);
    return error ? error : poller_open(engine);
}

int engine_slice(struct engine *engine, uint64_t slice_ns, uint64_t ramp_ns, uint64_t linger_ns,
                 bool measured, struct slice_result *result)
{
    engine->series_interval_ns = 0;
    return load(engine, ramp_ns, slice_ns, linger_ns, measured, result);
}

int engine_run(struct engine *engine, uint64_t duration_ns, uint64_t warmup_ns, uint64_t interval_ns,
               void (*on_progress)(const struct series_point *point), struct slice_result *result)
{
    engine->series_interval_ns = interval_ns;
    engine->on_progress = on_progress;
    return load(engine, warmup_ns, duration_ns, UINT64_MAX, true, result);
}

int engine_finish(struct engine *engine)
{
    int error = poller_wait(engine, 0, 0); /* bytes that nobody asked for would be here by now */
    engine->totals.connections_open = engine->open;
    return error;
}

void engine_close(struct engine *engine)
{
    if (engine == NULL)
        return;
    for (uint32_t i = 0; engine->connections && i < engine->options.connections; i++) {
        struct connection *connection = &engine->connections[i];
        if (connection->state == CONNECTION_CONNECTING || connection->state == CONNECTION_OPEN)
            poller_disconnect(engine, connection);
    }
    if (!poller_close(engine))
        return; /* all of it stays: the kernel may still use what is in flight */
    payload_close(&engine->payload);
    free(engine->block);
    free(engine->starts_ns);
    free(engine->response_time);
    free(engine->connect_time);
    free(engine->first_echo_time);
    free(engine->interval);
    free(engine->series);
    free(engine->stamps);
    free(engine);
}

const struct totals *engine_totals(const struct engine *engine)
{
    return &engine->totals;
}

const struct histogram *engine_histogram(const struct engine *engine, int which)
{
    const struct histogram *all[] = {engine->response_time, engine->connect_time, engine->first_echo_time};
    assert(which >= 0 && which < 3);
    return all[which];
}

const struct series_point *engine_series(const struct engine *engine, uint32_t *count)
{
    *count = engine->series_count;
    return engine->series;
}

const struct stamp_sample *engine_stamps(const struct engine *engine)
{
    return engine->stamps;
}

void engine_requests(const struct engine *engine, uint32_t *requests)
{
    for (uint32_t i = 0; i < engine->options.connections; i++)
        requests[i] = engine->connections[i].requests;
}
