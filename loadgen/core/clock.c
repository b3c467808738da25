/* Clocks of the system, in nanoseconds. */
#include "core.h"

#ifdef _WIN32

#include <windows.h>

/* Ticks of 100 ns on all of today's machines. */
uint64_t clock_monotonic_ns(void)
{
    static uint64_t ticks_per_s, ns_per_tick;
    LARGE_INTEGER ticks;
    if (ticks_per_s == 0) {
        LARGE_INTEGER frequency;
        QueryPerformanceFrequency(&frequency); /* neither fails since Windows XP */
        ticks_per_s = (uint64_t)frequency.QuadPart;
        ns_per_tick = NS_PER_S % ticks_per_s == 0 ? NS_PER_S / ticks_per_s : 0;
    }
    QueryPerformanceCounter(&ticks);
    uint64_t count = (uint64_t)ticks.QuadPart;
    if (ns_per_tick)
        return count * ns_per_tick;
    /* In two parts: ticks times 10^9 leaves 64 bits after half an hour of uptime. */
    return count / ticks_per_s * NS_PER_S + count % ticks_per_s * NS_PER_S / ticks_per_s;
}

uint64_t clock_realtime_ns(void)
{
    return 0; /* Windows stamps no received data */
}

static uint64_t in_ns(FILETIME time)
{
    return ((uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime) * 100;
}

static void thread_times(uint64_t *kernel_ns, uint64_t *user_ns)
{
    FILETIME created, exited, kernel, user;
    BOOL read = GetThreadTimes(GetCurrentThread(), &created, &exited, &kernel, &user);
    *kernel_ns = read ? in_ns(kernel) : 0;
    *user_ns = read ? in_ns(user) : 0;
}

uint64_t clock_thread_cpu_ns(void)
{
    uint64_t kernel, user;
    thread_times(&kernel, &user);
    return kernel + user;
}

void clock_thread_split_ns(uint64_t *user_ns, uint64_t *system_ns)
{
    thread_times(system_ns, user_ns);
}

void clock_exact_timers(void)
{
    /* The poller's own timer is of high resolution. */
}

#else

#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

static uint64_t read_ns(clockid_t clock)
{
    struct timespec time;
    int failed = clock_gettime(clock, &time);
    assert(!failed); /* fails for an unknown clock or address alone */
    (void)failed;
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_realtime_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

uint64_t clock_thread_cpu_ns(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t in_ns(struct timeval time)
{
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_usec * 1000;
}

void clock_thread_split_ns(uint64_t *user_ns, uint64_t *system_ns)
{
    struct rusage usage;
    int failed = getrusage(RUSAGE_THREAD, &usage);
    *user_ns = failed ? 0 : in_ns(usage.ru_utime);
    *system_ns = failed ? 0 : in_ns(usage.ru_stime);
}

void clock_exact_timers(void)
{
    prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul); /* a wish: where it fails more is spun */
}

#endif
