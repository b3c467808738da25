/* The loop, and what Python calls.
 *
 * A run and a slice are the same thing here: load comes on, a ramp passes, a window is measured, load goes on
 * until all that was started inside the window is back, then everything drains.
 */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* So many connections may be between connect and first echo at once: enough to keep both sides busy, few
     * enough that a first-echo time is the server's and not the queue of all the others. */
    CONNECTING_MAX = 64,
    NEWCOMERS_MAX = 4096, /* at once; what a server keeps waiting for longer than a timeout has failed */
    ARRIVALS_AT_ONCE = 64, /* after a pause many are due: echoes that have come are read in between */
};

#define IDLE_PATIENCE_NS (200 * NS_PER_MS)

/* A sleep ends so much before a request is due, and the rest is spun: what the system's timers are late by.
 */
#ifdef _WIN32
#define SPIN_NS (1 * NS_PER_MS)
#else
#define SPIN_NS 50000ull
#endif

/* --- what waiting is for --- */

/* Wait until `until_ns` at the latest and handle what has come; the time it is then, or 0 with `errno` set.
 */
static uint64_t step(struct engine *engine, uint64_t now_ns, uint64_t until_ns)
{
    if (until_ns > engine->next_timeout_scan_ns)
        until_ns = engine->next_timeout_scan_ns;
    bool found;
    int error = poller_wait(engine, now_ns, until_ns, &found);
    if (error) {
        errno = error;
        return 0;
    }
    uint64_t after_ns = clock_monotonic_ns();
    struct window *window = &engine->window;
    if (!found && (until_ns <= now_ns || engine->options.spin) && window->began && !window->ended)
        window->spun_ns += after_ns - now_ns;
    /* How old a request is would be judged without having looked whether its echo has come: after a pause of
     * this process, look first. */
    connection_scan(engine, after_ns);
    return after_ns;
}

/* --- opening and closing all --- */

/* Active connections at random places among the idle ones: a server that looks through all of them would find
 * those that were opened first sooner. Returns NULL without memory. */
static uint32_t *opening_order(struct engine *engine)
{
    uint32_t count = engine->options.connections + engine->options.idle;
    uint32_t *order = malloc((size_t)count * sizeof *order);
    if (order == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    uint64_t random = engine->options.seed;
    for (uint32_t i = count; engine->options.idle > 0 && i > 1; i--) {
        uint32_t other = (uint32_t)random_below(&random, i), number = order[i - 1];
        order[i - 1] = order[other];
        order[other] = number;
    }
    return order;
}

/* A server that doesn't answer any more would be waited for by each 64 connections anew. */
static bool is_opening_hopeless(const struct engine *engine)
{
    return engine->connects_without_echo >= CONNECTING_MAX;
}

int engine_connect(struct engine *engine)
{
    uint32_t next = 0, count = engine->options.connections + engine->options.idle;
    uint64_t now_ns = clock_monotonic_ns();
    uint32_t *order = opening_order(engine);
    if (order == NULL)
        return OUT_OF_MEMORY;
    engine->next_timeout_scan_ns = now_ns;
    while (engine->connecting > 0 || (next < count && !engine->stopping)) {
        while (engine->connecting < CONNECTING_MAX && next < count && !engine->stopping) {
            struct connection *connection = &engine->connections[order[next++]];
            if (is_opening_hopeless(engine)) {
                engine->connecting++;
                connection->state = CONNECTION_CONNECTING;
                engine_lost(engine, connection, FAILURE_CONNECT_TIMEOUT);
            } else {
                connection_open(engine, connection);
            }
        }
        if (engine->connecting > 0)
            now_ns = step(engine, now_ns, UINT64_MAX);
        if (now_ns == 0)
            break;
    }
    free(order);
    return now_ns == 0 ? errno : 0;
}

/* Each idle connection once more: whether the server has kept it. Where it answers nobody any more the run
 * has waited for that already. */
static int echo_idle_again(struct engine *engine)
{
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t patience_ns = engine->alive > 0 ? engine->options.response_timeout_ns : IDLE_PATIENCE_NS;
    uint64_t until_ns = now_ns + patience_ns, echoes = engine->totals.echoes_ever;
    uint32_t first = engine->options.connections, end = first + engine->options.idle, next = first;
    engine->next_timeout_scan_ns = now_ns;
    while (now_ns < until_ns && (engine->in_flight > 0 || next < end)) {
        for (; engine->in_flight < CONNECTING_MAX && next < end; next++)
            connection_start(engine, &engine->connections[next], 1);
        if (engine->in_flight > 0)
            now_ns = step(engine, now_ns, until_ns);
        if (now_ns == 0)
            return errno;
        if (engine->totals.echoes_ever != echoes)
            until_ns = now_ns + patience_ns;
        echoes = engine->totals.echoes_ever;
    }
    for (uint32_t i = first; i < end; i++) {
        struct connection *connection = &engine->connections[i];
        bool echoed = connection->completed == 2;
        engine->totals.idle_echoed_again += echoed;
        if (!echoed && connection->state == CONNECTION_OPEN)
            engine_lost(engine, connection, FAILURE_RESPONSE_TIMEOUT);
    }
    return 0;
}

int engine_finish(struct engine *engine)
{
    bool found;
    int error = engine->options.idle > 0 ? echo_idle_again(engine) : 0;
    if (!error)
        error = poller_wait(engine, 0, 0, &found); /* bytes that nobody asked for would be here by now */
    for (uint32_t i = 0; i < engine->slots; i++)
        if (engine->connections[i].state == CONNECTION_OPEN)
            poller_count(engine, &engine->connections[i]);
    engine->totals.connections_open = engine->open;
    engine->totals.idle_open = engine->idle_open;
    return error;
}

/* --- load --- */

/* The next moment at which something has to be done even if nothing comes. */
static uint64_t next_boundary_ns(const struct engine *engine)
{
    const struct window *window = &engine->window;
    uint64_t next_ns = UINT64_MAX;
    if (!window->began)
        next_ns = window->begin_ns;
    else if (window->ended)
        next_ns = engine->load_on ? engine->load_until_ns : UINT64_MAX;
    else if (engine->series_interval_ns && engine->series_next_ns < window->end_ns)
        next_ns = engine->series_next_ns;
    else
        next_ns = window->end_ns;
    if (!engine->load_on)
        return next_ns;
    if (!engine->open_loop && schedule_pending(engine))
        return 0;
    uint64_t due_ns = engine->open_loop ? engine->arrivals.next_ns : UINT64_MAX;
    if (engine->options.newcomers_per_s > 0 && engine->newcomers.next_ns < due_ns)
        due_ns = engine->newcomers.next_ns;
    if (due_ns != UINT64_MAX)
        due_ns = due_ns > SPIN_NS ? due_ns - SPIN_NS : 0;
    return due_ns < next_ns ? due_ns : next_ns;
}

/* Closed loop: the first requests of connections that haven't had one yet. */
static void start_first_requests(struct engine *engine, uint64_t now_ns)
{
    for (uint32_t due = schedule_due(engine, now_ns); due > 0; due--) {
        struct connection *connection = &engine->connections[engine->schedule.next++];
        if (connection->state == CONNECTION_NEW && engine->options.requests_per_connection > 0 &&
            poller_is_vacant(engine, connection))
            connection_open(engine, connection);
        else
            connection_start(engine, connection, engine->options.depth);
    }
}

/* Open loop: whose the next request is, a connection taken at random from those of all engines; NULL where it
 * is another engine's. In the place of one that is closed for good another takes it. */
static struct connection *deal(struct engine *engine)
{
    const struct engine_options *options = &engine->options;
    uint64_t dealt = random_below(&engine->dealing, options->all_connections) - options->first_connection;
    if (dealt >= options->connections)
        return NULL;
    struct connection *connection = &engine->connections[dealt];
    if (connection->state == CONNECTION_CLOSED)
        connection =
            &engine->connections[engine->open_ones[random_below(&engine->dealing_again, engine->alive)]];
    return connection;
}

static void start_arrivals(struct engine *engine, uint64_t now_ns)
{
    for (int i = 0; i < ARRIVALS_AT_ONCE && engine->arrivals.next_ns <= now_ns && engine->alive > 0; i++) {
        uint64_t intended_ns = arrivals_take(&engine->arrivals);
        struct connection *connection = deal(engine);
        if (connection != NULL)
            connection_arrival(engine, connection, intended_ns);
    }
}

static void start_newcomers(struct engine *engine, uint64_t now_ns)
{
    for (int i = 0; i < ARRIVALS_AT_ONCE && engine->newcomers.next_ns <= now_ns; i++) {
        arrivals_take(&engine->newcomers);
        if (engine->free_newcomer_count == 0)
            engine->totals.errors[FAILURE_BACKLOG]++;
        else
            connection_open(engine,
                            &engine->connections[engine->free_newcomers[--engine->free_newcomer_count]]);
    }
}

/* What was due in the window and hasn't been started, though it is past the time for late ones, is given up
 * like what waits: so far behind is a generator that has no CPU. */
static void load_off(struct engine *engine, uint64_t now_ns)
{
    engine->load_on = false;
    engine->window.censored = engine->window.uncollected;
    if (!engine->open_loop)
        return;
    while (engine->alive > 0 && engine->arrivals.next_ns < engine->window.end_ns) {
        uint64_t intended_ns = arrivals_take(&engine->arrivals);
        if (deal(engine) != NULL)
            connection_not_sent(engine, intended_ns, now_ns);
    }
    connection_give_up_backlog(engine, now_ns);
}

/* Whether there is no reason left to keep load on. */
static bool is_collected(const struct engine *engine, uint64_t now_ns)
{
    const struct window *window = &engine->window;
    if (!window->ended)
        return false;
    bool all_started = !engine->open_loop || engine->arrivals.next_ns >= window->end_ns || engine->alive == 0;
    return (window->uncollected == 0 && all_started) || now_ns >= engine->load_until_ns;
}

static void load_begins(struct engine *engine, uint64_t begin_ns, uint64_t ramp_ns)
{
    const struct engine_options *options = &engine->options;
    uint64_t seed = options->seed + engine->slices++;
    schedule_begin(engine, begin_ns, ramp_ns);
    if (engine->open_loop) {
        arrivals_begin(&engine->arrivals, begin_ns, options->rate_per_s, options->poisson, seed);
        engine->dealing = ~seed;
        engine->dealing_again = seed ^ options->first_number;
        clock_exact_timers();
    }
    if (options->newcomers_per_s > 0)
        arrivals_begin(&engine->newcomers, begin_ns, options->newcomers_per_s, true, seed + 1);
    engine->next_timeout_scan_ns = begin_ns; /* nothing was looked at since the last slice */
    engine->stamps_from_ns = begin_ns + ramp_ns / 2;
    engine->load_on = true;
}

/* When the run has to be over, whatever is still out: what was started inside the window has come or timed
 * out by then. Slices wait for the rest, so that each begins with nothing in flight. */
static uint64_t give_up_ns(const struct engine *engine)
{
    if (engine->series_interval_ns == 0 || !engine->window.ended)
        return UINT64_MAX;
    return engine->window.end_ns + engine->options.response_timeout_ns;
}

static int load(struct engine *engine, uint64_t begin_ns, uint64_t ramp_ns, uint64_t window_ns,
                uint64_t linger_ns, bool measured, struct slice_result *result)
{
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t began_ns = begin_ns > now_ns ? begin_ns : now_ns;
    if (linger_ns > engine->options.response_timeout_ns)
        linger_ns = engine->options.response_timeout_ns; /* nothing that was started is out for longer */
    window_open(engine, began_ns + ramp_ns, began_ns + ramp_ns + window_ns, measured);
    engine->load_until_ns = engine->window.end_ns + linger_ns;
    load_begins(engine, began_ns, ramp_ns);
    while (engine->load_on || engine->in_flight > 0 || engine->connecting > 0) {
        if (engine->load_on && now_ns >= began_ns) {
            if (engine->open_loop)
                start_arrivals(engine, now_ns);
            else
                start_first_requests(engine, now_ns);
            if (engine->options.newcomers_per_s > 0)
                start_newcomers(engine, now_ns);
        }
        now_ns = step(engine, now_ns, next_boundary_ns(engine));
        if (now_ns == 0)
            return errno;
        window_check(engine, now_ns);
        if (engine->alive == 0 || engine->stopping) {
            window_end_now(engine, now_ns);
            engine->load_until_ns = engine->window.end_ns + linger_ns;
        }
        if (engine->load_on && is_collected(engine, now_ns))
            load_off(engine, now_ns);
        if (now_ns >= give_up_ns(engine))
            connection_cut_off(engine, now_ns);
    }
    window_close(engine, result);
    result->span_ns = clock_monotonic_ns() - began_ns;
    return 0;
}

int engine_slice(struct engine *engine, uint64_t begin_ns, uint64_t slice_ns, uint64_t ramp_ns,
                 uint64_t linger_ns, bool measured, struct slice_result *result)
{
    engine->series_interval_ns = 0;
    return load(engine, begin_ns, ramp_ns, slice_ns, linger_ns, measured, result);
}

int engine_run(struct engine *engine, uint64_t begin_ns, uint64_t duration_ns, uint64_t warmup_ns,
               uint64_t interval_ns, void (*on_progress)(const struct series_point *point),
               struct slice_result *result)
{
    engine->series_interval_ns = interval_ns;
    engine->on_progress = on_progress;
    return load(engine, begin_ns, warmup_ns, duration_ns, UINT64_MAX, true, result);
}

/* --- memory --- */

/* A connection has the size of a cache line, but takes one only where the first of them begins one. */
static struct connection *on_cache_line(void *block)
{
    static_assert(sizeof(struct connection) == CACHE_LINE_BYTES, "a connection is one cache line");
    uintptr_t address = (uintptr_t)block;
    return (struct connection *)((address + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES);
}

static bool allocate_connections(struct engine *engine)
{
    size_t starts = (size_t)engine->slots * engine->options.depth;
    engine->block = calloc((size_t)engine->slots + 1, sizeof *engine->connections);
    engine->starts_ns = calloc(starts, sizeof *engine->starts_ns);
    if (engine->block == NULL || engine->starts_ns == NULL)
        return false;
    engine->connections = on_cache_line(engine->block);
    for (uint32_t i = 0; i < engine->slots; i++) {
        engine->connections[i].index = i;
        engine->connections[i].socket = NO_SOCKET;
    }
    return true;
}

static bool allocate_open_loop(struct engine *engine)
{
    uint32_t connections = engine->options.connections;
    engine->intended_ns = calloc((size_t)engine->slots * engine->options.depth, sizeof *engine->intended_ns);
    engine->open_ones = malloc(connections * sizeof *engine->open_ones);
    engine->place_of = malloc(connections * sizeof *engine->place_of);
    if (!engine->intended_ns || !engine->open_ones || !engine->place_of)
        return false;
    for (uint32_t i = 0; i < connections; i++)
        engine->open_ones[i] = engine->place_of[i] = i;
    return backlog_open(&engine->backlog, connections) == 0;
}

static bool allocate_newcomers(struct engine *engine)
{
    engine->free_newcomers = malloc(NEWCOMERS_MAX * sizeof *engine->free_newcomers);
    if (engine->free_newcomers == NULL)
        return false;
    for (uint32_t i = engine->slots; i > engine->slots - NEWCOMERS_MAX; i--)
        engine->free_newcomers[engine->free_newcomer_count++] = i - 1; /* the first is on top */
    return true;
}

static bool allocate_counters(struct engine *engine)
{
    for (int i = 0; i < HISTOGRAMS; i++) {
        engine->histograms[i] = calloc(1, sizeof *engine->histograms[i]);
        if (engine->histograms[i] == NULL)
            return false;
    }
    engine->series = calloc(SERIES_MAX, sizeof *engine->series);
    engine->stamps = calloc(STAMP_SAMPLES, sizeof *engine->stamps);
    return engine->series != NULL && engine->stamps != NULL;
}

int engine_open(const struct engine_options *options, struct engine **opened)
{
    assert(options->connections > 0 && options->message_bytes > 0 && options->depth > 0);
    struct engine *engine = calloc(1, sizeof *engine);
    *opened = engine;
    if (engine == NULL)
        return OUT_OF_MEMORY;
    engine->options = *options;
    engine->open_loop = options->rate_per_s > 0;
    engine->has_lives = options->requests_per_connection > 0 || options->newcomers_per_s > 0;
    engine->alive = engine->totals.connections_open_min = options->connections;
    engine->stamps_from_ns = UINT64_MAX; /* not while connecting */
    engine->slots = options->connections + options->idle + (options->newcomers_per_s > 0 ? NEWCOMERS_MAX : 0);
    if (!allocate_connections(engine) || !allocate_counters(engine) ||
        (engine->open_loop && !allocate_open_loop(engine)) ||
        (options->newcomers_per_s > 0 && !allocate_newcomers(engine)))
        return OUT_OF_MEMORY;
    int error = payload_open(&engine->payload, options->message_bytes, options->seed);
    return error ? error : poller_open(engine);
}

void engine_close(struct engine *engine)
{
    if (engine == NULL)
        return;
    for (uint32_t i = 0; engine->connections && i < engine->slots; i++) {
        struct connection *connection = &engine->connections[i];
        if (connection->state == CONNECTION_CONNECTING || connection->state == CONNECTION_OPEN)
            poller_disconnect(engine, connection, false);
    }
    if (!poller_close(engine))
        return; /* all of it stays: the kernel may still use what is in flight */
    payload_close(&engine->payload);
    backlog_close(&engine->backlog);
    for (int i = 0; i < HISTOGRAMS; i++)
        free(engine->histograms[i]);
    free(engine->block);
    free(engine->starts_ns);
    free(engine->intended_ns);
    free(engine->open_ones);
    free(engine->place_of);
    free(engine->free_newcomers);
    free(engine->series);
    free(engine->series_counts);
    free(engine->stamps);
    free(engine);
}

/* --- what was counted --- */

const struct totals *engine_totals(const struct engine *engine)
{
    return &engine->totals;
}

const struct histogram *engine_histogram(const struct engine *engine, int which)
{
    assert(which >= 0 && which < HISTOGRAMS);
    return engine->histograms[which];
}

const struct series_point *engine_series(const struct engine *engine, uint32_t *count)
{
    *count = engine->series_count;
    return engine->series;
}

const struct value_count *engine_series_counts(const struct engine *engine)
{
    return engine->series_counts;
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
