/* I/O completion port. Windows. The twin of iocp.py, which says what sets it apart. */

#if defined(_WIN32)

#include <stdlib.h>

#include "completion/iocp.h"

void server_failed(struct server *server, int error)
{
    lock(&server->lock);
    count_failed(server->counters, error);
    unlock(&server->lock);
}

int server_post(struct server *server, DWORD transferred, ULONG_PTR key, OVERLAPPED *overlapped)
{
    return PostQueuedCompletionStatus(server->port, transferred, key, overlapped) ? 0 : (int)GetLastError();
}

/* A packet for each of so many threads at the port: each ends with the one that it takes. */
static void tell_to_end(struct server *server, uint32_t threads)
{
    for (uint32_t i = 0; i < threads; i++) {
        int error = server_post(server, 0, LISTENER_KEY, NULL);
        if (error != 0)
            server_failed(server, error);
    }
}

/* --- taking completions ------------------------------------------------------------------------- */

static void completed(ULONG_PTR key, OVERLAPPED *overlapped, DWORD transferred, bool has_failed)
{
    if (key == LISTENER_KEY)
        acceptor_completed((struct acceptor *)overlapped, has_failed);
    else
        connection_completed((struct connection *)key, (struct operation *)overlapped, transferred,
                             has_failed);
}

/* Whether to wait again after a wait that failed. What isn't a timeout is counted. */
static bool goes_on_after(struct server *server, DWORD error)
{
    if (error != WAIT_TIMEOUT) {
        server_failed(server, (int)error);
        pause_for_a_moment(server->stop); /* it may fail again at once */
    }
    return !server->is_stopping;
}

static bool take_one(struct server *server, DWORD timeout_ms)
{
    DWORD transferred;
    ULONG_PTR key;
    OVERLAPPED *overlapped = NULL;
    bool succeeded = GetQueuedCompletionStatus(server->port, &transferred, &key, &overlapped, timeout_ms);
    /* Looked at first: without an operation, key and size are those of an earlier packet. */
    if (overlapped == NULL)
        return !succeeded && goes_on_after(server, GetLastError());
    completed(key, overlapped, transferred, !succeeded);
    return true;
}

static bool take_batch(struct server *server, OVERLAPPED_ENTRY *entries, DWORD timeout_ms)
{
    ULONG count;
    if (!GetQueuedCompletionStatusEx(server->port, entries, server->options->batch, &count, timeout_ms,
                                     FALSE))
        return goes_on_after(server, GetLastError());
    uint32_t told_to_end = 0;
    for (ULONG i = 0; i < count; i++) {
        const OVERLAPPED_ENTRY *entry = &entries[i];
        if (entry->lpOverlapped == NULL)
            told_to_end++;
        else /* the two highest bits of an NTSTATUS are over 1 in warnings and errors */
            completed(entry->lpCompletionKey, entry->lpOverlapped, entry->dwNumberOfBytesTransferred,
                      (entry->Internal >> 30 & 3) > 1);
    }
    if (told_to_end == 0)
        return true;
    tell_to_end(server, told_to_end - 1); /* those were meant for other workers */
    return false;
}

/* Wait for so long and handle what has come; false where it is to end. */
static bool take(const struct worker *worker, DWORD timeout_ms)
{
    return worker->entries != NULL ? take_batch(worker->server, worker->entries, timeout_ms)
                                   : take_one(worker->server, timeout_ms);
}

static DWORD WINAPI work(void *argument)
{
    while (take(argument, INFINITE))
        ;
    return 0;
}

/* Room for a batch of completions: 0 or OUT_OF_MEMORY. */
static int equip(struct worker *worker, struct server *server)
{
    uint32_t batch = server->options->batch;
    worker->server = server;
    worker->entries = batch > 1 ? malloc(batch * sizeof *worker->entries) : NULL;
    return batch > 1 && worker->entries == NULL ? OUT_OF_MEMORY : 0;
}

/* Begin to take completions: 0 or the system's error code. */
static int start_workers(struct server *server, uint32_t count)
{
    server->workers = calloc(count + 1, sizeof *server->workers); /* one more: 0 bytes may be NULL */
    if (server->workers == NULL)
        return OUT_OF_MEMORY;
    for (; server->worker_count < count; server->worker_count++) {
        struct worker *worker = &server->workers[server->worker_count];
        int error = equip(worker, server);
        if (error != 0)
            return error;
        worker->thread = CreateThread(NULL, 0, work, worker, 0, NULL);
        if (worker->thread == NULL) {
            error = (int)GetLastError();
            free(worker->entries);
            return error;
        }
    }
    return 0;
}

static void end_all(struct server *server, uint32_t threads)
{
    server->is_stopping = true;
    tell_to_end(server, threads);
}

/* Take the connections that are there: all, or as many as one wait may. */
static void accept_those_there(struct server *server)
{
    uint32_t limit = server->options->accepts_per_wait;
    for (uint32_t i = 0; limit == 0 || i < limit; i++) {
        socket_t accepted;
        int error = socket_accept(server->listener, false, &accepted);
        if (error == WOULD_BLOCK)
            return;
        if (error != 0) {
            server_failed(server, error);
            pause_if_exhausted(error, server->stop);
            return;
        }
        connection_open(server, accepted);
    }
}

/* --- who accepts: each returns 0 or the system's error code, once it is to stop ------------------ */

/* The main thread accepts and does nothing else. */
static int accept_in_a_thread(struct server *server)
{
    struct pollfd watched[] = {{.fd = server->listener, .events = READABLE},
                               {.fd = server->stop, .events = READABLE}};
    int error = start_workers(server, server->options->port_threads);
    while (error == 0 && watched[1].revents == 0) {
        if (socket_poll(watched, 2, -1) < 0)
            error = socket_error();
        else
            accept_those_there(server);
    }
    end_all(server, server->worker_count);
    return error;
}

static DWORD WINAPI wait_for_the_stop(void *argument)
{
    struct server *server = argument;
    wait_for(server->stop);
    end_all(server, server->worker_count + 1);
    return 0;
}

/* The main thread is one of the workers, and looks for connections between completions. */
static int alternate(struct server *server)
{
    int error = start_workers(server, server->options->port_threads - 1);
    HANDLE helper = NULL;
    if (error == 0) {
        /* Another thread, since this one sleeps at the port: a packet is what wakes it. */
        helper = CreateThread(NULL, 0, wait_for_the_stop, server, 0, NULL);
        error = helper == NULL ? (int)GetLastError() : 0;
    }
    if (error != 0) {
        end_all(server, server->worker_count);
        return error;
    }
    do
        accept_those_there(server);
    while (take(&server->own, server->options->accept_poll_ms));
    return join(helper) ? 0 : TIMED_OUT;
}

/* Accepts are started ahead and complete at the port; the main thread waits for the stop. */
static int accept_at_the_port(struct server *server)
{
    int error = acceptors_start(server);
    if (error == 0)
        error = start_workers(server, server->options->port_threads);
    if (error == 0)
        wait_for(server->stop);
    end_all(server, server->worker_count);
    return error;
}

/* End the workers, cancel what is in flight and take its completions; false where a worker doesn't end or an
   operation doesn't complete: its memory then still belongs to the kernel. */
static bool close_all(struct server *server)
{
    bool have_ended = true;
    for (uint32_t i = 0; i < server->worker_count; i++)
        have_ended &= join(server->workers[i].thread);
    if (!have_ended)
        return false;
    if (server->accepts_in_flight > 0)
        (void)CancelIoEx((HANDLE)server->listener, NULL);
    for (struct connection *c = server->connections.next; c != &server->connections; c = c->next)
        connection_cancel(c);
    ULONGLONG deadline_ms = GetTickCount64() + STOP_TIMEOUT_MS;
    while ((server->open_count > 0 || server->accepts_in_flight > 0) && GetTickCount64() < deadline_ms)
        (void)take(&server->own, STOP_POLL_MS);
    return server->open_count == 0 && server->accepts_in_flight == 0;
}

static int serve(struct server *server)
{
    switch ((enum accept)server->options->accept) {
    case ACCEPT_ALTERNATING:
        return alternate(server);
    case ACCEPT_ACCEPTEX:
        return accept_at_the_port(server);
    default:
        return accept_in_a_thread(server);
    }
}

EXPORT int serve_iocp(socket_t listener, socket_t stop, const struct serve_options *options,
                      struct serve_counters *counters)
{
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return OUT_OF_MEMORY;
    server->listener = listener;
    server->stop = stop;
    server->options = options;
    server->counters = counters;
    server->connections.previous = server->connections.next = &server->connections;
    bool have_ended = true;
    int error = equip(&server->own, server);
    if (error != 0)
        goto done;
    /* A peer that gives up between the wait and the accept must not block it. */
    if ((error = socket_set_blocking(listener, false)) != 0)
        goto done;
    server->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, options->concurrency);
    if (server->port == NULL) {
        error = (int)GetLastError();
        goto done;
    }
    error = serve(server);
    have_ended = close_all(server);
done:
    if (!have_ended) /* threads and the kernel may still use all of it */
        return error != 0 ? error : TIMED_OUT;
    if (server->port != NULL)
        (void)CloseHandle(server->port);
    for (uint32_t i = 0; i < server->worker_count; i++)
        free(server->workers[i].entries);
    free(server->workers);
    free(server->own.entries);
    free(server);
    return error;
}

#endif
