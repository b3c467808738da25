/* A pair of rings shared with the kernel: the twin of ring.py, which says how they work. Linux.

   Each side writes only its own end of a queue; what it publishes by that is released, and what the other has
   published is acquired, so that entries are seen whole on every machine. */

#ifndef SERVERS_COMPLETION_RING_H
#define SERVERS_COMPLETION_RING_H

#include <errno.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEFERRED = 20 };

struct ring {
    int descriptor;
    bool is_polled; /* a thread of the kernel takes what is submitted */
    bool is_deferred; /* receives are completed by the call that asks for completions */
    uint32_t tail; /* of the submission queue, with what isn't published yet */
    uint32_t pending; /* written and not handed over */
    uint32_t sq_mask, sq_entries, cq_mask;
    uint32_t *sq_head, *sq_tail, *cq_head, *cq_tail;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void *queues;
    size_t queues_bytes, sqes_bytes;
};

static inline void ring_close(struct ring *ring)
{
    if (ring->sqes != NULL)
        (void)munmap(ring->sqes, ring->sqes_bytes);
    if (ring->queues != NULL)
        (void)munmap(ring->queues, ring->queues_bytes);
    (void)close(ring->descriptor);
}

static inline void *ring_map(const struct ring *ring, size_t bytes, off_t offset)
{
    void *mapped =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->descriptor, offset);
    return mapped == MAP_FAILED ? NULL : mapped;
}

/* 0 or the system's error code. */
static inline int ring_open(struct ring *ring, uint32_t entries, uint32_t completions, uint32_t flags,
                            uint32_t sq_thread_idle_ms)
{
    struct io_uring_params params = {
        .cq_entries = completions,
        .flags = flags | IORING_SETUP_CQSIZE,
        .sq_thread_idle = sq_thread_idle_ms,
    };
    *ring = (struct ring){
        .is_polled = (flags & IORING_SETUP_SQPOLL) != 0,
        .is_deferred = (flags & IORING_SETUP_DEFER_TASKRUN) != 0,
    };
    ring->descriptor = (int)syscall(SYS_io_uring_setup, entries, &params);
    if (ring->descriptor < 0)
        return errno;
    size_t sq_bytes = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
    size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    ring->queues_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
    ring->sqes_bytes = params.sq_entries * sizeof(struct io_uring_sqe);
    ring->queues = ring_map(ring, ring->queues_bytes, IORING_OFF_SQ_RING);
    ring->sqes = ring_map(ring, ring->sqes_bytes, IORING_OFF_SQES);
    if (ring->queues == NULL || ring->sqes == NULL) {
        ring_close(ring);
        return ENOMEM;
    }
    char *queues = ring->queues;
    ring->sq_head = (uint32_t *)(queues + params.sq_off.head);
    ring->sq_tail = (uint32_t *)(queues + params.sq_off.tail);
    ring->cq_head = (uint32_t *)(queues + params.cq_off.head);
    ring->cq_tail = (uint32_t *)(queues + params.cq_off.tail);
    ring->cqes = (struct io_uring_cqe *)(queues + params.cq_off.cqes);
    ring->sq_mask = *(uint32_t *)(queues + params.sq_off.ring_mask);
    ring->cq_mask = *(uint32_t *)(queues + params.cq_off.ring_mask);
    ring->sq_entries = params.sq_entries;
    /* Entry i is always described at place i: the indirection is for those that recycle entries. */
    uint32_t *indices = (uint32_t *)(queues + params.sq_off.array);
    for (uint32_t i = 0; i < params.sq_entries; i++)
        indices[i] = i;
    return 0;
}

/* Hand over what is written, and wait until at least `wanted` are done: 0 or the system's error code. What
   goes by, a signal or completions that must be taken first, is no error. */
static inline int ring_enter(struct ring *ring, uint32_t wanted)
{
    __atomic_store_n(ring->sq_tail, ring->tail, __ATOMIC_RELEASE);
    uint32_t flags =
        (wanted > 0 ? IORING_ENTER_GETEVENTS : 0) | (ring->is_polled ? IORING_ENTER_SQ_WAKEUP : 0);
    long done = syscall(SYS_io_uring_enter, ring->descriptor, ring->pending, wanted, flags, NULL, 0);
    if (done >= 0) {
        ring->pending -= (uint32_t)done;
        return 0;
    }
    return errno == EINTR || errno == EAGAIN || errno == EBUSY ? 0 : errno;
}

/* Where the completion queue ends, with all in it that is ready: ring.py says what it takes. */
static inline uint32_t ring_end(struct ring *ring, uint32_t head)
{
    uint32_t before = head, end = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    while (ring->is_deferred && end - before >= DEFERRED) {
        (void)syscall(SYS_io_uring_enter, ring->descriptor, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
        before = end;
        end = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    }
    return end;
}

/* An entry to fill in, all zero. Where the queue is full what is in it is handed over first. */
static inline struct io_uring_sqe *ring_entry(struct ring *ring)
{
    while (ring->tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) >= ring->sq_entries) {
        (void)ring_enter(ring, 0); /* what is wrong with the ring the next wait says */
        if (ring->is_polled)
            (void)sched_yield(); /* the kernel's thread is taking them */
    }
    struct io_uring_sqe *entry = &ring->sqes[ring->tail++ & ring->sq_mask];
    memset(entry, 0, sizeof *entry);
    ring->pending++;
    return entry;
}

#endif
