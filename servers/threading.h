/* Threads and locks under the same names on both systems, as far as servers that run on both need them. */

#ifndef SERVERS_THREADING_H
#define SERVERS_THREADING_H

#include <stdbool.h>

#if defined(_WIN32)

#include <winsock2.h>

#include <windows.h>

typedef SRWLOCK lock_t;
typedef CONDITION_VARIABLE condition_t;
typedef DWORD thread_result_t;
typedef LPTHREAD_START_ROUTINE thread_routine_t;
#define LOCK_INITIALIZER SRWLOCK_INIT
#define CONDITION_INITIALIZER CONDITION_VARIABLE_INIT

static inline void lock(lock_t *lock)
{
    AcquireSRWLockExclusive(lock);
}

static inline void unlock(lock_t *lock)
{
    ReleaseSRWLockExclusive(lock);
}

static inline void condition_signal(condition_t *condition)
{
    WakeConditionVariable(condition);
}

/* Let go of `lock` and wait; false where nobody has signalled for so long. */
static inline bool condition_wait(condition_t *condition, lock_t *lock, uint32_t timeout_ms)
{
    return SleepConditionVariableSRW(condition, lock, timeout_ms, 0);
}

/* Run `routine` in a thread that nobody waits for: 0 or the system's error code. */
static inline int thread_start(thread_routine_t routine, void *argument, size_t stack_bytes)
{
    HANDLE thread =
        CreateThread(NULL, stack_bytes, routine, argument, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (thread == NULL)
        return (int)GetLastError();
    (void)CloseHandle(thread);
    return 0;
}

#else

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

typedef pthread_mutex_t lock_t;
typedef pthread_cond_t condition_t;
typedef void *thread_result_t;
typedef thread_result_t (*thread_routine_t)(void *);
#define LOCK_INITIALIZER PTHREAD_MUTEX_INITIALIZER
#define CONDITION_INITIALIZER PTHREAD_COND_INITIALIZER

static inline void lock(lock_t *lock)
{
    pthread_mutex_lock(lock);
}

static inline void unlock(lock_t *lock)
{
    pthread_mutex_unlock(lock);
}

static inline void condition_signal(condition_t *condition)
{
    pthread_cond_signal(condition);
}

/* Let go of `lock` and wait; false where nobody has signalled for so long. */
static inline bool condition_wait(condition_t *condition, lock_t *lock, uint32_t timeout_ms)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += timeout_ms / 1000;
    deadline.tv_nsec += timeout_ms % 1000 * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    return pthread_cond_timedwait(condition, lock, &deadline) == 0;
}

/* Run `routine` in a thread that nobody waits for: 0 or the system's error code. */
static inline int thread_start(thread_routine_t routine, void *argument, size_t stack_bytes)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, stack_bytes);
    pthread_t thread;
    error = pthread_create(&thread, &attributes, routine, argument);
    (void)pthread_attr_destroy(&attributes);
    return error;
}

#endif

#endif
