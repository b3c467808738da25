/* When requests start that no completed request starts: the first of each connection in a slice, and all of
 * an open loop. */
#include "core.h"

#include <math.h>

/* All connections starting at once would make a wave that comes back as one, again and again, through the
 * whole slice: a load that no server meets outside of a benchmark. They start one after the other instead,
 * over one response time, which is the median of the slice before. The first slice doesn't know it and takes
 * half of the ramp; that slice is the warm-up. */
void schedule_begin(struct engine *engine, uint64_t now_ns, uint64_t ramp_ns)
{
    uint64_t span = engine->median_ns ? engine->median_ns : ramp_ns / 2;
    engine->schedule.begin_ns = now_ns;
    engine->schedule.span_ns = span < ramp_ns ? span : ramp_ns;
    engine->schedule.next = 0;
}

bool schedule_pending(const struct engine *engine)
{
    return engine->schedule.next < engine->options.connections;
}

/* How many connections, from schedule.next on, should have started by now. */
uint32_t schedule_due(struct engine *engine, uint64_t now_ns)
{
    const struct schedule *schedule = &engine->schedule;
    uint32_t all = engine->options.connections;
    uint64_t passed = now_ns - schedule->begin_ns;
    uint64_t due =
        schedule->span_ns && passed < schedule->span_ns ? passed * all / schedule->span_ns + 1 : all;
    return due > schedule->next ? (uint32_t)due - schedule->next : 0;
}

/* Above 0 and up to 1, in steps of 2^-53. */
static double random_share(struct arrivals *arrivals)
{
    return ((double)(random_next(&arrivals->random) >> 11) + 1.0) * 0x1p-53;
}

/* Open loop: one schedule for all connections, which goes on whatever the server does. With constant times
 * between arrivals the n-th is n intervals after the first, so that nothing adds up; the first is at random
 * within an interval, or each slice would begin in step with it. */
static void arrivals_next(struct arrivals *arrivals)
{
    if (arrivals->poisson)
        arrivals->offset_ns -= log(random_share(arrivals)) * arrivals->interval_ns;
    else
        arrivals->offset_ns = ((double)arrivals->count + arrivals->phase) * arrivals->interval_ns;
    arrivals->count++;
    arrivals->next_ns = arrivals->begin_ns + (uint64_t)arrivals->offset_ns;
}

void arrivals_begin(struct arrivals *arrivals, uint64_t begin_ns, double rate_per_s, bool poisson,
                    uint64_t seed)
{
    *arrivals = (struct arrivals){
        .random = seed,
        .begin_ns = begin_ns,
        .interval_ns = (double)NS_PER_S / rate_per_s,
        .poisson = poisson,
    };
    arrivals->phase = 1.0 - random_share(arrivals);
    arrivals_next(arrivals);
}

uint64_t arrivals_take(struct arrivals *arrivals)
{
    uint64_t due_ns = arrivals->next_ns;
    arrivals_next(arrivals);
    return due_ns;
}
