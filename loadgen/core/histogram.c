/* Percentiles, sums and clearing of histograms; recording is in core.h, since it is in the hot path. */
#include "core.h"

#include <string.h>

/* The largest value that the bucket at `index` stands for: what HdrHistogram reports for a percentile. */
static uint64_t highest_equivalent(uint32_t index)
{
    if (index < 2 * HISTOGRAM_HALF)
        return index;
    uint32_t bucket = index / HISTOGRAM_HALF - 1;
    uint64_t sub = index % HISTOGRAM_HALF + HISTOGRAM_HALF;
    return ((sub + 1) << bucket) - 1;
}

/* The value that at least `percent` % of the recorded ones do not exceed; 0 where nothing was recorded. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    assert(percent >= 0.0 && percent <= 100.0);
    if (histogram->count == 0)
        return 0;
    double exact = (double)histogram->count * percent / 100.0;
    uint64_t wanted = (uint64_t)exact;
    if ((double)wanted < exact || wanted == 0)
        wanted++;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_COUNTS; i++) {
        seen += histogram->counts[i];
        if (seen >= wanted) {
            uint64_t value = highest_equivalent(i);
            return value < histogram->max ? value : histogram->max;
        }
    }
    return histogram->max;
}

void histogram_add(struct histogram *to, const struct histogram *from)
{
    if (from->count == 0)
        return;
    to->count += from->count;
    to->sum += from->sum;
    to->beyond += from->beyond;
    if (from->max > to->max)
        to->max = from->max;
    uint32_t last = histogram_index(from->max);
    for (uint32_t i = 0; i <= last; i++)
        to->counts[i] += from->counts[i];
}

void histogram_clear(struct histogram *histogram)
{
    uint32_t last = histogram->count ? histogram_index(histogram->max) : 0;
    memset(histogram->counts, 0, (last + 1) * sizeof histogram->counts[0]);
    histogram->count = histogram->sum = histogram->max = histogram->beyond = 0;
}
