/* The load generator's core: types and functions that its files share, and the few that Python calls.
 *
 * One thread drives all connections of an engine; several engines, each with a thread, share a load between
 * them and nothing else. Two halves meet in this file: the engine knows requests, time and what
 * is counted; the poller knows the operating system. The poller hands bytes up (engine_received), the engine
 * asks for bytes to go down (poller_send), and neither looks into the other, so that another system is
 * another poller and nothing else. Times are nanoseconds of a monotonic clock.
 */
#ifndef IOCPBENCH_LOADGEN_CORE_H
#define IOCPBENCH_LOADGEN_CORE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#include <winsock2.h>
typedef SOCKET socket_t;
#define NO_SOCKET INVALID_SOCKET
#define EXPORT __declspec(dllexport)
#define OUT_OF_MEMORY ERROR_NOT_ENOUGH_MEMORY
#else
#include <errno.h>
typedef int socket_t;
#define NO_SOCKET (-1)
#define EXPORT __attribute__((visibility("default")))
#define OUT_OF_MEMORY ENOMEM
#endif

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

/* --- clock.c --- */

uint64_t clock_monotonic_ns(void);
uint64_t clock_realtime_ns(void); /* the clock of the kernel's receive stamps */
/* CPU time of the calling thread: exact on Linux. Windows counts it in ticks of 15.6 ms, each to the thread
 * that it hits, so only a sum over many slices says something. */
uint64_t clock_thread_cpu_ns(void);
/* The same in two parts. The system may guess them from which part each tick of its clock hit. */
void clock_thread_split_ns(uint64_t *user_ns, uint64_t *system_ns);
/* The calling thread's timers end when they are due. Linux lets them be 50 us late otherwise, so that several
 * wake-ups become one. */
void clock_exact_timers(void);

/* --- histogram.c --- */

/* The layout of HdrHistogram with 3 significant digits from 1 ns to 1 hour: 2048 values that are told apart
 * one by one, then 1024 for each power of two. Any encoder of that format can take the counts as they are. */
enum {
    HISTOGRAM_SUB_BITS = 11,
    HISTOGRAM_HALF = 1 << (HISTOGRAM_SUB_BITS - 1),
    HISTOGRAM_BUCKETS = 32,
    HISTOGRAM_COUNTS = (HISTOGRAM_BUCKETS + 1) * HISTOGRAM_HALF,
};
#define HISTOGRAM_HIGHEST 3600000000000ull

struct histogram {
    uint64_t count;
    uint64_t sum; /* exact, so that the mean is */
    uint64_t max; /* exact */
    uint64_t beyond; /* values past the end of the scale, counted there */
    uint64_t counts[HISTOGRAM_COUNTS];
};

static inline uint32_t histogram_index(uint64_t value)
{
    uint32_t bucket =
        (uint32_t)(64 - HISTOGRAM_SUB_BITS - __builtin_clzll(value | ((1u << HISTOGRAM_SUB_BITS) - 1)));
    return bucket * HISTOGRAM_HALF + (uint32_t)(value >> bucket);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
    if (value > HISTOGRAM_HIGHEST) {
        value = HISTOGRAM_HIGHEST; /* counted at the end of the scale, never dropped */
        histogram->beyond++;
    }
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->counts[histogram_index(value)]++;
}

EXPORT uint64_t histogram_percentile(const struct histogram *histogram, double percent);
void histogram_add(struct histogram *to, const struct histogram *from);
void histogram_clear(struct histogram *histogram);

/* --- random numbers --- */

/* splitmix64 (Steele, Lea and Flood, 2014): one multiplication chain, no state to set up, passes BigCrush. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Even over 0 to `count` - 1; what multiplying is biased by is below count / 2^64. */
static inline uint64_t random_below(uint64_t *state, uint64_t count)
{
    return (uint64_t)((unsigned __int128)random_next(state) * count >> 64);
}

/* --- payload.c --- */

/* What is sent: one random buffer, of which each message is a piece. Where the piece begins depends on
 * connection and sequence number, so the echo of another connection or of an earlier message doesn't compare
 * equal. The begins span 64 KiB: with small messages all that is ever sent stays in the second-level cache.
 */
#define PAYLOAD_BEGINS 65536u

struct payload {
    uint8_t *bytes;
    uint32_t message_bytes;
};

int payload_open(struct payload *payload, uint32_t message_bytes, uint64_t seed);
void payload_close(struct payload *payload);

static inline const uint8_t *payload_message(const struct payload *payload, uint32_t connection,
                                             uint64_t sequence)
{
    /* Odd factors: at the same sequence number 65536 connections in a row all differ, and so do 65536
     * messages in a row of one connection. */
    uint32_t begin = (connection * 40503u + (uint32_t)sequence * 25717u) % PAYLOAD_BEGINS;
    return payload->bytes + begin;
}

/* --- requests.c: connections and what is in flight on them --- */

enum failure {
    FAILURE_REFUSED,
    FAILURE_CONNECT_TIMEOUT,
    FAILURE_UNREACHABLE,
    FAILURE_NO_PORT, /* every local port of the source address is in use */
    FAILURE_NO_DESCRIPTOR, /* this process may open no more */
    FAILURE_RESET,
    FAILURE_CLOSED, /* the server ended the stream */
    FAILURE_RESPONSE_TIMEOUT,
    FAILURE_MISMATCH, /* other bytes than those sent, or bytes that nobody asked for */
    FAILURE_BACKLOG, /* open loop: a request given up before it was sent, as too many waited */
    FAILURE_OTHER,
    FAILURES,
};

enum connection_state {
    CONNECTION_NEW, /* not connected, and may be: before its first life, or between two */
    CONNECTION_CONNECTING,
    CONNECTION_OPEN,
    CONNECTION_CLOSED, /* for good */
};

/* One cache line each: with 10 000 connections the cache decides what a request costs. */
struct connection {
    uint64_t started; /* messages whose first byte was to be sent; the next one's sequence number */
    uint64_t written; /* messages that the kernel took whole */
    uint64_t completed; /* messages whose echo came back whole */
    uint64_t last_completed_ns;
    socket_t socket;
    uint32_t index;
    uint32_t written_bytes; /* of message `written` */
    uint32_t received_bytes; /* of the echo of message `completed` */
    uint32_t requests; /* completed inside measured windows */
    uint32_t served_mark; /* the last interval in which it completed a request */
    uint8_t state; /* enum connection_state */
    bool wants_write; /* the poller reports when the socket takes bytes again */
    bool stamped; /* the kernel stamps what it receives here, for the in-client share */
};

enum { CACHE_LINE_BYTES = 64, SOURCES_MAX = 64, STAMP_SAMPLES = 512 };

/* Connections are numbered: first the active ones, then the idle ones, then those of newcomers. */
struct engine_options {
    uint32_t address; /* IPv4, network byte order, as are port and sources */
    uint32_t sources[SOURCES_MAX];
    uint32_t source_count; /* 0: the system chooses */
    uint32_t connections; /* active ones of this engine */
    uint32_t idle; /* that stay open and silent between a first echo and a last one */
    uint32_t all_connections; /* active ones of all engines of this load: arrivals are dealt to all */
    uint32_t first_connection; /* the number, among those, of this engine's first one */
    uint32_t first_number; /* of its connections among all, idle ones too: no two send the same bytes */
    uint32_t message_bytes;
    uint32_t depth; /* requests in flight on each connection */
    uint32_t requests_per_connection; /* after so many it is closed and opened again; 0: it stays */
    uint32_t close_by_reset;
    uint32_t backlog; /* open loop: so many requests may wait on each connection */
    uint32_t poisson; /* open loop: times between arrivals are exponential, else constant */
    uint32_t spin; /* poll without sleeping */
    uint32_t keep_counts; /* of each point of the series, so that those of several engines can be added */
    double rate_per_s; /* open loop: of all engines together; 0: closed loop */
    double newcomers_per_s; /* beside the load: each connects, has one echo, closes; Poisson arrivals */
    uint64_t response_timeout_ns;
    uint64_t seed;
    int64_t stop; /* a socket: readable means end early; -1: none */
    uint16_t port;
};

/* What is counted while load is on; slice.c. */
struct window {
    uint64_t begin_ns,
        end_ns; /* completions inside count for the rate, starts inside for the response time */
    uint64_t began_ns, ended_ns; /* when the loop noticed: the span of the CPU times */
    bool began, ended;
    bool measured; /* false in a warm-up: nothing goes into the totals */
    uint64_t requests, requests_total;
    uint64_t arrivals; /* open loop: requests due inside, sent or not */
    uint64_t spun_ns; /* spent in polls that found nothing: CPU time that no request needed */
    uint64_t uncollected; /* requests started inside that aren't back yet */
    uint64_t censored; /* of those, how many weren't when load went off: under load they took longer still */
    uint64_t bytes_sent, bytes_received; /* ever, when it began */
    double in_flight_ns; /* integral of in_flight over the window */
    uint64_t cpu_ns, user_ns, system_ns; /* at the begin; then, over the window */
    uint32_t served;
    uint32_t served_mark;
    uint32_t open_min;
    uint64_t longest_silence_ns;
};

struct series_point {
    uint64_t t_ns; /* end of the interval, from the start of the window */
    uint64_t requests, p50_ns, p99_ns;
    uint64_t responses; /* what the percentiles are of; 0: there are none */
    uint64_t first_count; /* with keep_counts: its first entry in engine_series_counts */
    uint32_t in_flight, connections_open, connections_served;
    uint32_t count_entries;
};

/* How often a value was recorded, by its place in the histogram. */
struct value_count {
    uint32_t index, count;
};

/* A slice as Python reads it. */
struct slice_result {
    uint64_t requests, requests_total, duration_ns, span_ns, cpu_ns, spun_ns, p50_ns, p99_ns;
    uint64_t responses; /* requests started in the window: what the percentiles are of */
    uint64_t censored;
    uint64_t arrivals;
    double in_flight_mean;
    uint32_t connections_served;
    uint32_t connections_open;
};

/* Everything over all measured windows, as Python reads it. */
struct totals {
    uint64_t requests, bytes_sent, bytes_received, duration_ns, cpu_ns, cpu_user_ns, cpu_system_ns, spun_ns,
        longest_silence_ns, censored, arrivals;
    /* From the first connect on, warm-ups and all: what the server and the kernel have counted, too. */
    uint64_t echoes_ever, bytes_sent_ever, bytes_received_ever;
    /* What the kernel says that it sent and was given on these connections. */
    uint64_t kernel_bytes_sent, kernel_bytes_received;
    uint64_t unfinished; /* started after the window, and still out when the time for late ones was over */
    double in_flight_ns;
    uint64_t errors[FAILURES];
    uint64_t lives; /* connections opened, again and again with churn, newcomers too: all that connected */
    uint32_t connections_opened, connections_open, connections_open_min; /* active ones */
    uint32_t idle_opened, idle_open, idle_echoed_again;
    uint32_t stamp_samples;
    uint32_t kernel_counts; /* whether it says it */
};

struct stamp_sample {
    uint64_t response_ns, in_client_ns;
};

enum { SERIES_MAX = 600 };

struct schedule {
    uint64_t begin_ns;
    uint64_t span_ns; /* over which the first requests are spread: about one response time */
    uint32_t next; /* the connection that starts next */
};

/* Open loop: when the next request is due, whatever became of those before it. */
struct arrivals {
    uint64_t random;
    uint64_t begin_ns, next_ns;
    uint64_t count;
    double interval_ns; /* the mean */
    double phase; /* constant times: the first, in intervals */
    double offset_ns; /* of the next from `begin_ns` */
    bool poisson;
};

/* Requests that are due and wait for their connection: their intended starts, first come first served. */
struct waiting {
    uint32_t first, last; /* in the pool of nodes */
    uint32_t count;
};

struct backlog {
    struct waiting *connections;
    struct backlog_node *nodes;
    uint32_t used, capacity, free;
    uint64_t count; /* on all connections */
};

/* What Python asks for by number. */
enum which_histogram {
    HISTOGRAM_RESPONSE_TIME, /* closed loop: from the send; open loop: from the intended start */
    HISTOGRAM_CONNECT_TIME,
    HISTOGRAM_FIRST_ECHO_TIME,
    HISTOGRAM_SERVICE_TIME, /* open loop: from the send */
    HISTOGRAM_LATENESS, /* open loop: of the send, where nothing but the generator was in its way */
    HISTOGRAM_INTERVAL, /* response times of this slice, or of this point of the series */
    HISTOGRAMS,
};

struct engine {
    struct engine_options options;
    struct payload payload;
    void *block; /* what was allocated for the connections */
    struct connection *connections;
    uint32_t slots; /* active, idle and newcomers together */
    uint64_t *starts_ns; /* of the sends: depth entries a connection, a ring by sequence number */
    uint64_t *intended_ns; /* the same for intended starts; closed loop: NULL */
    void *poller;
    struct window window;
    struct schedule schedule;
    struct arrivals arrivals, newcomers;
    uint64_t dealing, dealing_again; /* random numbers: whose the next one is */
    struct backlog backlog;
    uint32_t *open_ones; /* open loop: those that are `alive`, and where each is among them */
    uint32_t *place_of;
    uint32_t *free_newcomers; /* a stack of slots */
    uint32_t free_newcomer_count;
    struct totals totals;
    struct histogram *histograms[HISTOGRAMS];
    struct series_point *series;
    uint64_t series_interval_ns; /* 0: no series */
    uint64_t series_next_ns;
    uint64_t series_requests; /* window.requests at the last point */
    struct value_count *series_counts;
    uint64_t series_counts_used, series_counts_capacity;
    uint32_t series_count;
    uint32_t slices; /* so far: each has random numbers of its own */
    struct stamp_sample *stamps;
    uint64_t stamps_from_ns; /* requests started from then on are sampled */
    uint64_t median_ns; /* of the last slice; 0: not known yet */
    uint64_t next_timeout_scan_ns;
    uint64_t load_until_ns; /* at the latest; UINT64_MAX: until all that was started in the window is back */
    uint32_t in_flight; /* requests */
    uint32_t open; /* active connections */
    uint32_t alive; /* active ones that aren't closed for good */
    uint32_t idle_open;
    uint32_t connecting; /* connections between connect and their first echo */
    uint32_t connects_without_echo; /* in a row that timed out */
    bool open_loop;
    bool has_lives; /* some connections are closed after a number of requests */
    bool load_on; /* a completed request starts the next */
    bool stopping;
    void (*on_progress)(const struct series_point *point);
};

static inline bool is_active(const struct engine *engine, const struct connection *connection)
{
    return connection->index < engine->options.connections;
}

static inline bool is_newcomer(const struct engine *engine, const struct connection *connection)
{
    return connection->index >= engine->options.connections + engine->options.idle;
}

static inline bool window_holds(const struct window *window, uint64_t t_ns)
{
    return t_ns >= window->begin_ns && t_ns < window->end_ns;
}

static inline bool connection_is_waiting(const struct connection *connection)
{
    return connection->state == CONNECTION_OPEN && connection->completed < connection->started;
}

/* The entry of the ring where a request's start is. */
static inline uint64_t start_place(const struct engine *engine, const struct connection *connection,
                                   uint64_t sequence)
{
    uint32_t depth = engine->options.depth;
    return (uint64_t)connection->index * depth + (depth > 1 ? sequence % depth : 0);
}

static inline const uint8_t *message_of(const struct engine *engine, const struct connection *connection,
                                        uint64_t sequence)
{
    return payload_message(&engine->payload, engine->options.first_number + connection->index, sequence);
}

/* Called by the poller. */
void engine_connected(struct engine *engine, struct connection *connection);
/* `in_client_ns`: how long the bytes had been in this machine's kernel when they were read; 0: not sampled.
 */
void engine_received(struct engine *engine, struct connection *connection, const uint8_t *bytes, size_t count,
                     uint64_t in_client_ns);
void engine_lost(struct engine *engine, struct connection *connection, enum failure failure);
/* The kernel took so many bytes more of the started messages. */
void connection_sent(struct engine *engine, struct connection *connection, size_t bytes);
/* What a closed connection had in flight has come back: it can be used again. */
void engine_vacant(struct engine *engine, struct connection *connection);

/* Called by the loop. */
void connection_open(struct engine *engine, struct connection *connection);
void connection_start(struct engine *engine, struct connection *connection, uint32_t requests);
/* A request is due at `intended_ns`: sent at once where its connection is free, else it waits. */
void connection_arrival(struct engine *engine, struct connection *connection, uint64_t intended_ns);
/* One that could not even be handed to its connection. */
void connection_not_sent(struct engine *engine, uint64_t intended_ns, uint64_t now_ns);
void connection_scan(struct engine *engine, uint64_t now_ns);
/* What waits unsent isn't sent any more: errors, in the percentiles at their age. */
void connection_give_up_backlog(struct engine *engine, uint64_t now_ns);
/* Requests still in flight, which nothing measured depends on, are waited for no longer. */
void connection_cut_off(struct engine *engine, uint64_t now_ns);

/* --- backlog.c: what is due and can't be sent yet --- */

int backlog_open(struct backlog *backlog, uint32_t connections);
void backlog_close(struct backlog *backlog);
/* False where there is no memory. */
bool backlog_push(struct backlog *backlog, uint32_t connection, uint64_t intended_ns);
uint64_t backlog_pop(struct backlog *backlog, uint32_t connection);

/* --- engine.c: the loop, and what Python calls --- */

/* Called by Python: 0, or the system's error number. A failed connection is no error: it is counted.
 * `begin_ns` is when the load's schedule begins, the same for all engines of a load; 0: now. */
EXPORT int engine_open(const struct engine_options *options, struct engine **opened);
EXPORT int engine_connect(struct engine *engine);
EXPORT int engine_slice(struct engine *engine, uint64_t begin_ns, uint64_t slice_ns, uint64_t ramp_ns,
                        uint64_t linger_ns, bool measured, struct slice_result *result);
EXPORT int engine_run(struct engine *engine, uint64_t begin_ns, uint64_t duration_ns, uint64_t warmup_ns,
                      uint64_t interval_ns, void (*on_progress)(const struct series_point *point),
                      struct slice_result *result);
EXPORT int engine_finish(struct engine *engine);
EXPORT void engine_close(struct engine *engine);
EXPORT const struct totals *engine_totals(const struct engine *engine);
EXPORT const struct histogram *engine_histogram(const struct engine *engine, int which);
EXPORT const struct series_point *engine_series(const struct engine *engine, uint32_t *count);
EXPORT const struct value_count *engine_series_counts(const struct engine *engine);
EXPORT const struct stamp_sample *engine_stamps(const struct engine *engine);
EXPORT void engine_requests(const struct engine *engine, uint32_t *requests);

/* --- slice.c: what counts --- */

void window_open(struct engine *engine, uint64_t begin_ns, uint64_t end_ns, bool measured);
void window_check(struct engine *engine, uint64_t now_ns);
void window_end_now(struct engine *engine, uint64_t now_ns);
void window_in_flight(struct engine *engine, int change, uint64_t now_ns);
void window_started(struct engine *engine, uint64_t intended_ns);
/* `sent_ns` is `intended_ns` in a closed loop. */
void window_completed(struct engine *engine, struct connection *connection, uint64_t intended_ns,
                      uint64_t sent_ns, uint64_t now_ns);
void window_abandoned(struct engine *engine, uint64_t start_ns, uint64_t waited_ns);
void window_close(struct engine *engine, struct slice_result *result);

/* --- schedule.c: when requests start --- */

void schedule_begin(struct engine *engine, uint64_t now_ns, uint64_t ramp_ns);
bool schedule_pending(const struct engine *engine);
uint32_t schedule_due(struct engine *engine, uint64_t now_ns);
EXPORT void arrivals_begin(struct arrivals *arrivals, uint64_t begin_ns, double rate_per_s, bool poisson,
                           uint64_t seed);
/* When the next request is due; then the one after it is. */
EXPORT uint64_t arrivals_take(struct arrivals *arrivals);

/* --- poller_*.c: the operating system --- */

int poller_open(struct engine *engine);
/* After poller_disconnect of every connection. False where the kernel may still write to their memory: it
 * must stay. */
bool poller_close(struct engine *engine);
/* Whether nothing of a connection is in flight any more; where something is, engine_vacant follows. */
bool poller_is_vacant(const struct engine *engine, const struct connection *connection);
/* Begin to connect one that is vacant; engine_connected or engine_lost follows, at once or from poller_wait.
 */
void poller_connect(struct engine *engine, struct connection *connection);
/* Give the kernel whatever of the started messages it hasn't yet, now or as soon as it takes more. */
void poller_send(struct engine *engine, struct connection *connection);
/* Wait until `until_ns` at the latest, not at all where that has passed, and hand up what has come; `found`
 * tells whether anything had. */
int poller_wait(struct engine *engine, uint64_t now_ns, uint64_t until_ns, bool *found);
/* Enough was sampled: the kernel need not stamp what it receives any more. */
void poller_stop_stamps(struct engine *engine);
/* Add what the kernel has counted on an open connection to the totals. */
void poller_count(struct engine *engine, const struct connection *connection);
/* Close, and count before that. `by_reset`: drop what is unsent and tell the peer so, instead of an orderly
 * end of the stream. */
void poller_disconnect(struct engine *engine, struct connection *connection, bool by_reset);

#endif
