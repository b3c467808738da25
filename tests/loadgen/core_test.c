/* Drives the generator's core without Python, so that sanitizers see all of it.
 *
 *     core_test histogram < VALUES     each value's index and what it stands for, then percentiles
 *     core_test payload                whether messages that must differ do
 *     core_test schedule               how many connections start when
 *     core_test slices|run PORT CONNECTIONS MESSAGE_BYTES DEPTH TIMEOUT_MS
 *
 * The last makes three slices, or one run with a series; it prints the errors by number, then the requests.
 */
#include "core.h"

#include <arpa/inet.h>
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
    printf("sum %llu\nmax %llu\n", (unsigned long long)whole.sum, (unsigned long long)whole.max);
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

static void print_errors(const struct engine *engine)
{
    const struct totals *totals = engine_totals(engine);
    for (int i = 0; i < FAILURES; i++)
        printf("error %d %llu\n", i, (unsigned long long)totals->errors[i]);
    printf("requests %llu\n", (unsigned long long)totals->requests);
}

static int test_load(bool slices, char **arguments)
{
    struct engine_options options = {
        .address = htonl(INADDR_LOOPBACK),
        .port = htons((uint16_t)atoi(arguments[0])),
        .connections = (uint32_t)atoi(arguments[1]),
        .message_bytes = (uint32_t)atoi(arguments[2]),
        .depth = (uint32_t)atoi(arguments[3]),
        .response_timeout_ns = strtoull(arguments[4], NULL, 10) * NS_PER_MS,
        .seed = 7,
        .stop = -1,
    };
    struct engine *engine;
    struct slice_result result = {0};
    int error = engine_open(&options, &engine);
    if (!error)
        error = engine_connect(engine);
    for (int round = 0; slices && round < 3 && !error; round++)
        error = engine_slice(engine, 30 * NS_PER_MS, 10 * NS_PER_MS, UINT64_MAX, round > 0, &result);
    if (!slices && !error)
        error = engine_run(engine, 300 * NS_PER_MS, 50 * NS_PER_MS, 50 * NS_PER_MS, NULL, &result);
    if (!error)
        error = engine_finish(engine);
    if (!error)
        print_errors(engine);
    engine_close(engine);
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
    if (count == 7 && (!strcmp(what, "slices") || !strcmp(what, "run")))
        return test_load(!strcmp(what, "slices"), arguments + 2);
    return 2;
}
