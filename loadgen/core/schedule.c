/* When requests start that no completed request starts: the first of each connection in a slice. */
#include "core.h"

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
