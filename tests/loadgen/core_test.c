/* Drives the generator's core without Python, so that sanitizers see all of it.
 *
 *     core_test histogram < VALUES     each value's index and what it stands for, then percentiles
 *     core_test payload                whether messages that must differ do
 *     core_test schedule               how many connections start when
 *     core_test slices|run PORT NAME=VALUE…    load; the names are those of `set` below
 *
 * The last makes three slices, or one run with a series, with as many engines as `threads`, each in a thread;
 * it prints the errors by number, then the requests, the connections and the idle ones that echoed again.
 */
#include "core.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_histogram(void)
{
    static struct histogram whole, part;
    unsigned long long value;
    while (scanf("%llu", &value) == 1) {
        histogram_record(&part, value);
        printf("%llu %u\n", value, histogram_index(value));
    }
    histogram_add(&whole, &part);
    histogram_clear(&part);
    for (uint32_t i = 0; i < HISTOGRAM_COUNTS; i++)
        if (part.counts[i])
            return 1;
    const double percents[] = {0, 1, 50, 90, 99, 99.9, 100};
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        printf("p%g %llu\n", percents[i], (unsigned long long)histogram_percentile(&whole, percents[i]));
    printf("sum %llu\nmax %llu\nbeyond %llu\n", (unsigned long long)whole.sum, (unsigned long long)whole.max,
           (unsigned long long)whole.beyond);
    return 0;
}

static int test_payload(void)
{
    enum { MESSAGE_BYTES = 16, OTHERS = 65535 };
    struct payload payload;
    if (payload_open(&payload, MESSAGE_BYTES, 1))
        return 1;
    int equal = 0;
    const uint8_t *first = payload_message(&payload, 0, 0);
    for (uint32_t i = 1; i <= OTHERS; i++) {
        equal += memcmp(first, payload_message(&payload, i, 0), MESSAGE_BYTES) == 0; /* other connections */
        equal += memcmp(first, payload_message(&payload, 0, i), MESSAGE_BYTES) == 0; /* other messages */
    }
    payload_close(&payload);
    printf("equal %d\n", equal);
    return equal != 0;
}

static int test_schedule(void)
{
    static struct engine engine;
    engine.options.connections = 10;
    engine.median_ns = 1000;
    schedule_begin(&engine, 5000, 100000);
    for (uint64_t now_ns = 5000; now_ns <= 6000; now_ns += 250) {
        uint32_t due = schedule_due(&engine, now_ns);
        engine.schedule.next += due;
        printf("%u ", due);
    }
    printf("%s\n", schedule_pending(&engine) ? "pending" : "all");
    return 0;
}

enum { THREADS_MAX = 8 };

struct load {
    struct engine_options options;
    bool slices;
    uint32_t threads;
    uint64_t begin_ns;
};

struct part {
    const struct load *load;
    struct engine_options options;
    struct totals totals;
    int error;
};

static bool set(struct load *load, const char *setting)
{
    struct engine_options *options = &load->options;
    const char *value = strchr(setting, '=');
    struct {
        const char *name;
        uint32_t *place;
    } numbers[] = {
        {"connections", &options->connections},
        {"idle", &options->idle},
        {"message_bytes", &options->message_bytes},
        {"depth", &options->depth},
        {"requests_per_connection", &options->requests_per_connection},
        {"close_by_reset", &options->close_by_reset},
        {"backlog", &options->backlog},
        {"poisson", &options->poisson},
        {"threads", &load->threads},
    };
    if (value == NULL)
        return false;
    size_t length = (size_t)(value++ - setting);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strlen(numbers[i].name) == length && !strncmp(setting, numbers[i].name, length))
            return *numbers[i].place = (uint32_t)atoi(value), true;
    if (!strncmp(setting, "rate", length))
        return options->rate_per_s = atof(value), true;
    if (!strncmp(setting, "newcomers", length))
        return options->newcomers_per_s = atof(value), true;
    if (!strncmp(setting, "timeout_ms", length))
        return options->response_timeout_ns = strtoull(value, NULL, 10) * NS_PER_MS, true;
    return false;
}

static void *drive(void *argument)
{
    struct part *part = argument;
    const struct load *load = part->load;
    struct engine *engine;
    struct slice_result result = {0};
    int error = engine_open(&part->options, &engine);
    if (!error)
        error = engine_connect(engine);
    for (int round = 0; load->slices && round < 3 && !error; round++)
        error = engine_slice(engine, 0, 30 * NS_PER_MS, 10 * NS_PER_MS, UINT64_MAX, round > 0, &result);
    if (!load->slices && !error)
        error = engine_run(engine, load->begin_ns, 300 * NS_PER_MS, 50 * NS_PER_MS, 50 * NS_PER_MS, NULL,
                           &result);
    if (!error)
        error = engine_finish(engine);
    if (!error)
        part->totals = *engine_totals(engine);
    engine_close(engine);
    part->error = error;
    return NULL;
}

static int test_load(bool slices, const char *port, char **settings)
{
    struct load load = {.slices = slices, .threads = 1, .begin_ns = clock_monotonic_ns() + 100 * NS_PER_MS};
    load.options = (struct engine_options){
        .address = htonl(INADDR_LOOPBACK),
        .port = htons((uint16_t)atoi(port)),
        .connections = 1,
        .message_bytes = 64,
        .depth = 1,
        .backlog = 1024,
        .response_timeout_ns = 5 * NS_PER_S,
        .seed = 7,
        .stop = -1,
    };
    for (; *settings != NULL; settings++)
        if (!set(&load, *settings))
            return 2;
    struct part parts[THREADS_MAX] = {0};
    pthread_t threads[THREADS_MAX];
    for (uint32_t i = 0; i < load.threads && i < THREADS_MAX; i++) {
        parts[i] = (struct part){.load = &load, .options = load.options};
        parts[i].options.all_connections = load.options.connections * load.threads;
        parts[i].options.first_connection = i * load.options.connections;
        parts[i].options.first_number = i * (load.options.connections + load.options.idle);
        parts[i].options.keep_counts = load.threads > 1;
        if (pthread_create(&threads[i], NULL, drive, &parts[i]))
            return 1;
    }
    struct totals all = {0};
    int error = 0;
    for (uint32_t i = 0; i < load.threads && i < THREADS_MAX; i++) {
        pthread_join(threads[i], NULL);
        error = error ? error : parts[i].error;
        for (int failure = 0; failure < FAILURES; failure++)
            all.errors[failure] += parts[i].totals.errors[failure];
        all.requests += parts[i].totals.requests;
        all.lives += parts[i].totals.lives;
        all.idle_echoed_again += parts[i].totals.idle_echoed_again;
    }
    for (int failure = 0; failure < FAILURES; failure++)
        printf("error %d %llu\n", failure, (unsigned long long)all.errors[failure]);
    printf("requests %llu\n", (unsigned long long)all.requests);
    printf("lives %llu\n", (unsigned long long)all.lives);
    printf("idle %u\n", all.idle_echoed_again);
    return error;
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "histogram"))
        return test_histogram();
    if (!strcmp(what, "payload"))
        return test_payload();
    if (!strcmp(what, "schedule"))
        return test_schedule();
    if (count > 2 && (!strcmp(what, "slices") || !strcmp(what, "run")))
        return test_load(!strcmp(what, "slices"), arguments[2], arguments + 3);
    return 2;
}
