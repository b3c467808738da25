/* What counts: the window of a slice (or of a whole run, which is one long slice), its counters, its series.
 *
 * The rate is of requests completed inside the window. The response time is of requests *started* inside it,
 * however late they come back: load goes on, uncounted, until all of them are back. A histogram of what was
 * completed inside would leave out just those that took longest. One that never comes back counts as what was
 * waited for it.
 *
 * A server that starves some connections can keep load on for many times a slice, for one request in
 * thousands. Whoever asks for the slice may limit that: after so long load goes off, what is still out is
 * counted when it comes, and how much that was is told, since under load it would have taken longer still
 * ("censored").
 *
 * In an open loop a request starts, for all of this, when it was due.
 */
#include "core.h"

#include <stdlib.h>

static struct histogram *interval_of(const struct engine *engine)
{
    return engine->histograms[HISTOGRAM_INTERVAL];
}

void window_open(struct engine *engine, uint64_t begin_ns, uint64_t end_ns, bool measured)
{
    uint32_t mark = engine->window.served_mark + 1;
    engine->window = (struct window){
        .begin_ns = begin_ns,
        .end_ns = end_ns,
        .measured = measured,
        .in_flight_ns = (double)engine->in_flight * (double)(end_ns - begin_ns),
        .served_mark = mark,
        /* With churn a connection is closed now and then in good order. */
        .open_min = engine->options.requests_per_connection ? engine->alive : engine->open,
    };
    engine->series_next_ns = begin_ns + engine->series_interval_ns;
    engine->series_requests = 0;
    histogram_clear(interval_of(engine));
}

/* The part of `from` to `to` that lies inside the window. */
static uint64_t overlap_ns(const struct window *window, uint64_t from, uint64_t to)
{
    if (from < window->begin_ns)
        from = window->begin_ns;
    if (to > window->end_ns)
        to = window->end_ns;
    return to > from ? to - from : 0;
}

/* The integral is what it will be if nothing more changes, so that changes may come in any order: of several
 * echoes that one read has brought, each is handled after the request before it has started its next. */
void window_in_flight(struct engine *engine, int change, uint64_t now_ns)
{
    struct window *window = &engine->window;
    window->in_flight_ns += (double)change * (double)overlap_ns(window, now_ns, window->end_ns);
    assert(change >= 0 || engine->in_flight >= (uint32_t)-change);
    engine->in_flight += (uint32_t)change;
}

void window_started(struct engine *engine, uint64_t intended_ns)
{
    if (!window_holds(&engine->window, intended_ns))
        return;
    engine->window.uncollected++;
    engine->window.arrivals += engine->open_loop;
}

void window_completed(struct engine *engine, struct connection *connection, uint64_t intended_ns,
                      uint64_t sent_ns, uint64_t now_ns)
{
    struct window *window = &engine->window;
    window->requests_total++;
    if (window_holds(window, now_ns)) {
        window->requests++;
        if (window->measured)
            connection->requests++;
        if (connection->served_mark != window->served_mark) {
            connection->served_mark = window->served_mark;
            window->served++;
        }
        uint64_t silence = overlap_ns(window, connection->last_completed_ns, now_ns);
        if (silence > window->longest_silence_ns)
            window->longest_silence_ns = silence;
    }
    connection->last_completed_ns = now_ns;
    if (window_holds(window, intended_ns)) {
        histogram_record(interval_of(engine), now_ns - intended_ns);
        if (engine->open_loop && window->measured)
            histogram_record(engine->histograms[HISTOGRAM_SERVICE_TIME], now_ns - sent_ns);
        assert(window->uncollected > 0);
        window->uncollected--;
    }
}

/* A request that will not come back, `waited_ns` after its start; 0: its connection failed, it has no time.
 */
void window_abandoned(struct engine *engine, uint64_t start_ns, uint64_t waited_ns)
{
    if (!window_holds(&engine->window, start_ns))
        return;
    if (waited_ns)
        histogram_record(interval_of(engine), waited_ns);
    assert(engine->window.uncollected > 0);
    engine->window.uncollected--;
}

static void begin(struct engine *engine, uint64_t now_ns)
{
    struct window *window = &engine->window;
    window->began = true;
    window->began_ns = now_ns;
    clock_thread_split_ns(&window->user_ns, &window->system_ns);
    window->cpu_ns = clock_thread_cpu_ns();
    window->bytes_sent = engine->totals.bytes_sent_ever;
    window->bytes_received = engine->totals.bytes_received_ever;
}

static void end(struct engine *engine, uint64_t now_ns)
{
    struct window *window = &engine->window;
    window->ended = true;
    window->ended_ns = now_ns;
    uint64_t user_ns, system_ns;
    window->cpu_ns = clock_thread_cpu_ns() - window->cpu_ns;
    clock_thread_split_ns(&user_ns, &system_ns);
    window->user_ns = user_ns - window->user_ns;
    window->system_ns = system_ns - window->system_ns;
    if (window->measured) {
        engine->totals.bytes_sent += engine->totals.bytes_sent_ever - window->bytes_sent;
        engine->totals.bytes_received += engine->totals.bytes_received_ever - window->bytes_received;
    }
    for (uint32_t i = 0; i < engine->options.connections; i++) {
        const struct connection *connection = &engine->connections[i];
        if (connection->state != CONNECTION_OPEN)
            continue;
        uint64_t silence = overlap_ns(window, connection->last_completed_ns, now_ns);
        if (silence > window->longest_silence_ns)
            window->longest_silence_ns = silence;
    }
}

/* Without memory the counts of this point are left out; its own percentiles stay. */
static void keep_counts(struct engine *engine, struct series_point *point)
{
    const struct histogram *interval = interval_of(engine);
    point->first_count = engine->series_counts_used;
    for (uint32_t i = 0; i < HISTOGRAM_COUNTS; i++) {
        if (interval->counts[i] == 0)
            continue;
        if (engine->series_counts_used == engine->series_counts_capacity) {
            uint64_t capacity = engine->series_counts_capacity ? 2 * engine->series_counts_capacity : 4096;
            struct value_count *counts = realloc(engine->series_counts, capacity * sizeof *counts);
            if (counts == NULL)
                return;
            engine->series_counts = counts;
            engine->series_counts_capacity = capacity;
        }
        engine->series_counts[engine->series_counts_used++] =
            (struct value_count){.index = i, .count = (uint32_t)interval->counts[i]};
        point->count_entries++;
    }
}

static void series_append(struct engine *engine, uint64_t t_ns)
{
    struct window *window = &engine->window;
    if (engine->series_count == SERIES_MAX)
        return;
    struct series_point *point = &engine->series[engine->series_count++];
    *point = (struct series_point){
        .t_ns = t_ns - window->begin_ns,
        .requests = window->requests - engine->series_requests,
        .responses = interval_of(engine)->count,
        .p50_ns = histogram_percentile(interval_of(engine), 50),
        .p99_ns = histogram_percentile(interval_of(engine), 99),
        .in_flight = engine->in_flight,
        .connections_open = engine->open,
        .connections_served = window->served,
    };
    if (engine->options.keep_counts)
        keep_counts(engine, point);
    engine->series_requests = window->requests;
    window->served = 0;
    window->served_mark++;
    histogram_add(engine->histograms[HISTOGRAM_RESPONSE_TIME], interval_of(engine));
    histogram_clear(interval_of(engine));
    if (engine->on_progress)
        engine->on_progress(point);
}

/* Notice that the window, or an interval of its series, has begun or ended. */
void window_check(struct engine *engine, uint64_t now_ns)
{
    struct window *window = &engine->window;
    if (!window->began && now_ns >= window->begin_ns)
        begin(engine, now_ns);
    if (window->ended || !window->began)
        return;
    while (engine->series_interval_ns && now_ns >= engine->series_next_ns &&
           engine->series_next_ns <= window->end_ns) {
        series_append(engine, engine->series_next_ns);
        engine->series_next_ns += engine->series_interval_ns;
    }
    if (now_ns >= window->end_ns)
        end(engine, now_ns);
}

/* The window is cut short: a stop, or nothing left to measure. */
void window_end_now(struct engine *engine, uint64_t now_ns)
{
    struct window *window = &engine->window;
    if (window->ended)
        return;
    /* Past now by one: what was started at this very moment was counted as started inside. */
    now_ns += 1;
    window->in_flight_ns -= (double)engine->in_flight * (double)overlap_ns(window, now_ns, window->end_ns);
    if (window->begin_ns > now_ns)
        window->begin_ns = now_ns;
    if (window->end_ns > now_ns)
        window->end_ns = now_ns;
    window_check(engine, now_ns);
}

/* All that was started inside is back: into the result, and into the totals unless it was a warm-up. */
void window_close(struct engine *engine, struct slice_result *result)
{
    struct window *window = &engine->window;
    struct totals *totals = &engine->totals;
    assert(window->ended && window->uncollected == 0);
    uint64_t duration_ns = window->end_ns - window->begin_ns;
    *result = (struct slice_result){
        .requests = window->requests,
        .requests_total = window->requests_total,
        .duration_ns = duration_ns,
        .cpu_ns = window->cpu_ns,
        .spun_ns = window->spun_ns,
        .arrivals = window->arrivals,
        .responses = interval_of(engine)->count,
        .censored = window->censored,
        .p50_ns = histogram_percentile(interval_of(engine), 50),
        .p99_ns = histogram_percentile(interval_of(engine), 99),
        .in_flight_mean = duration_ns ? window->in_flight_ns / (double)duration_ns : 0.0,
        .connections_served = window->served,
        .connections_open = engine->open,
    };
    if (result->p50_ns)
        engine->median_ns = result->p50_ns;
    if (!window->measured)
        return;
    totals->requests += window->requests;
    totals->duration_ns += duration_ns;
    totals->censored += window->censored;
    totals->arrivals += window->arrivals;
    totals->spun_ns += window->spun_ns;
    totals->cpu_ns += window->cpu_ns;
    totals->cpu_user_ns += window->user_ns;
    totals->cpu_system_ns += window->system_ns;
    totals->in_flight_ns += window->in_flight_ns;
    if (window->longest_silence_ns > totals->longest_silence_ns)
        totals->longest_silence_ns = window->longest_silence_ns;
    if (window->open_min < totals->connections_open_min)
        totals->connections_open_min = window->open_min;
    histogram_add(engine->histograms[HISTOGRAM_RESPONSE_TIME], interval_of(engine));
}
