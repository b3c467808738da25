/* Windows: every operation is started at once and a completion port says which are done.
 *
 * A connection has two operations, one that receives and one that connects and then sends. What they point to
 * lives as long as the poller, since the kernel writes there until their completions have come, also after a
 * cancel: the poller counts what is in flight and frees nothing before that is zero. What is sent is the
 * payload itself, which never changes, so nothing is copied.
 *
 * Most sends are done when the call returns. Sockets are told not to queue a packet for those, which would
 * double the number of packets; then they are accounted for on the spot. So is a receive that found
 * something, once; then the connection queues up again by a packet of its own making, since the others want
 * their turn and the loop has to notice when a window ends.
 *
 * A wait for the port ends at a tick of the system's clock, every 15.6 ms. Nothing is counted by when the
 * loop notices a boundary, completions and starts have times of their own, but a slice of 50 ms on a slow
 * server would last 65. So a high-resolution timer wakes the loop at its boundaries. It can't be waited for
 * together with the port; the system's wait thread does that and posts a packet. The stop is waited for in
 * the same way: the socket isn't read, so it stays readable, and isn't bound to a port, which a socket can be
 * only once in its life. Both cost nothing while nothing happens.
 *
 * Source: "I/O Completion Ports", ConnectEx, GetQueuedCompletionStatusEx, SetFileCompletionNotificationModes,
 * CreateWaitableTimerEx, RegisterWaitForSingleObject in the Win32 reference.
 */
#ifdef _WIN32

#include "core.h"

#include <stdlib.h>
#include <string.h>
#include <ws2tcpip.h>

#include <mswsock.h>
#include <windows.h>

#ifndef SO_REUSE_UNICASTPORT
#define SO_REUSE_UNICASTPORT 0x3007
#endif
#ifndef CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
#define CREATE_WAITABLE_TIMER_HIGH_RESOLUTION 0x2
#endif

enum {
    ENTRIES_PER_WAIT = 1024, /* as many as with epoll */
    /* The kernel locks the pages of every receive that waits: small inboxes share one. */
    INBOX_BYTES_MIN = 512,
    INBOX_BYTES_MAX = 64 * 1024,
    /* The kernel takes a send whole or not at all: with 16 MiB that would be 16 MiB of its own memory. */
    SEND_BYTES_MAX = 256 * 1024,
    MESSAGES_PER_SEND = 16,
    RECEIVES_AT_ONCE = 2, /* of one connection in a row; the last of them queues up */
    DRAIN_MS = 5000, /* cancelled operations complete within milliseconds; past this something is lost */
    DRAIN_WAIT_MS = 100,
    WAIT_MS_MAX = 1000,
};

/* Packets that are no operation's. */
enum key { KEY_OPERATION, KEY_TIMER, KEY_STOP };

enum kind { KIND_CONNECT, KIND_RECEIVE, KIND_SEND };

struct operation {
    OVERLAPPED overlapped;
    struct connection *connection;
    enum kind kind;
    bool in_flight; /* a packet will come; until then nothing here may be used again */
};

struct channel {
    struct operation receive;
    struct operation send; /* first it connects */
    uint8_t *inbox;
    bool skips; /* no packet comes for what succeeded at once */
};

struct poller {
    HANDLE port;
    LPFN_CONNECTEX connect_ex;
    struct channel *channels;
    uint8_t *inboxes;
    uint32_t inbox_bytes;
    uint32_t in_flight; /* operations */
    HANDLE timer, timer_wait; /* NULL: this system has none finer than its ticks */
    uint64_t timer_ns; /* what it is set to; 0: nothing */
    HANDLE stop_event, stop_wait;
    bool winsock;
    bool may_skip;
    OVERLAPPED_ENTRY entries[ENTRIES_PER_WAIT];
};

static enum failure failure_of(int error, bool connecting)
{
    switch (error) {
    case WSAECONNREFUSED:
    case ERROR_CONNECTION_REFUSED:
        return FAILURE_REFUSED;
    case WSAETIMEDOUT:
    case ERROR_SEM_TIMEOUT:
        return connecting ? FAILURE_CONNECT_TIMEOUT : FAILURE_RESET;
    case WSAENETUNREACH:
    case WSAEHOSTUNREACH:
    case ERROR_NETWORK_UNREACHABLE:
    case ERROR_HOST_UNREACHABLE:
        return FAILURE_UNREACHABLE;
    case WSAEADDRINUSE:
    case WSAEADDRNOTAVAIL:
        return FAILURE_NO_PORT;
    case WSAENOBUFS: /* what bind and connect say when all ports are in use */
        return connecting ? FAILURE_NO_PORT : FAILURE_OTHER;
    case WSAEMFILE:
        return FAILURE_NO_DESCRIPTOR;
    case WSAECONNRESET:
    case WSAECONNABORTED:
    case WSAENETRESET:
    case ERROR_NETNAME_DELETED:
    case ERROR_CONNECTION_ABORTED:
        return FAILURE_RESET;
    case WSAESHUTDOWN:
        return FAILURE_CLOSED;
    default:
        return FAILURE_OTHER;
    }
}

static void fail(struct engine *engine, struct connection *connection, int error)
{
    engine_lost(engine, connection, failure_of(error, connection->state == CONNECTION_CONNECTING));
}

/* --- opening and closing --- */

/* What has to be asked of a socket, once: where ConnectEx is, and whether the skip mode can be relied on. It
 * can't where a provider that isn't the kernel's lies in between, which then would queue a packet all the
 * same. */
static int ask_a_socket(struct poller *poller)
{
    GUID which = WSAID_CONNECTEX;
    DWORD bytes;
    WSAPROTOCOL_INFOW protocol;
    int size = sizeof protocol;
    SOCKET any = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    if (any == INVALID_SOCKET)
        return WSAGetLastError();
    int failed = WSAIoctl(any, SIO_GET_EXTENSION_FUNCTION_POINTER, &which, sizeof which, &poller->connect_ex,
                          sizeof poller->connect_ex, &bytes, NULL, NULL);
    if (!failed)
        failed = getsockopt(any, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&protocol, &size);
    int error = failed ? WSAGetLastError() : 0;
    poller->may_skip = !failed && protocol.dwServiceFlags1 & XP1_IFS_HANDLES;
    closesocket(any);
    return error;
}

/* In the system's wait thread. Posting fails where the kernel has no memory; a boundary is then noticed at
 * the next tick. */
static void CALLBACK post_timer(void *context, BOOLEAN timed_out)
{
    (void)timed_out;
    PostQueuedCompletionStatus(((struct poller *)context)->port, 0, KEY_TIMER, NULL);
}

static void CALLBACK post_stop(void *context, BOOLEAN timed_out)
{
    (void)timed_out;
    PostQueuedCompletionStatus(((struct poller *)context)->port, 0, KEY_STOP, NULL);
}

static int watch_timer(struct poller *poller)
{
    poller->timer =
        CreateWaitableTimerExW(NULL, NULL, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, TIMER_ALL_ACCESS);
    if (poller->timer == NULL) /* before Windows 10 version 1803 */
        return 0;
    if (!RegisterWaitForSingleObject(&poller->timer_wait, poller->timer, post_timer, poller, INFINITE,
                                     WT_EXECUTEINWAITTHREAD))
        return (int)GetLastError();
    return 0;
}

static int watch_stop(struct engine *engine, struct poller *poller)
{
    poller->stop_event = WSACreateEvent();
    if (poller->stop_event == WSA_INVALID_EVENT)
        return WSAGetLastError();
    /* The event is set at once where the socket is readable already. */
    if (WSAEventSelect((SOCKET)engine->options.stop, poller->stop_event, FD_READ | FD_CLOSE))
        return WSAGetLastError();
    if (!RegisterWaitForSingleObject(&poller->stop_wait, poller->stop_event, post_stop, poller, INFINITE,
                                     WT_EXECUTEINWAITTHREAD | WT_EXECUTEONLYONCE))
        return (int)GetLastError();
    return 0;
}

static int allocate_channels(struct engine *engine, struct poller *poller)
{
    const struct engine_options *options = &engine->options;
    uint64_t expected = (uint64_t)options->message_bytes * options->depth;
    expected = (expected + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
    expected = expected < INBOX_BYTES_MIN ? INBOX_BYTES_MIN : expected;
    poller->inbox_bytes = (uint32_t)(expected > INBOX_BYTES_MAX ? INBOX_BYTES_MAX : expected);
    poller->channels = calloc(engine->slots, sizeof *poller->channels);
    poller->inboxes = malloc((size_t)engine->slots * poller->inbox_bytes);
    if (poller->channels == NULL || poller->inboxes == NULL)
        return OUT_OF_MEMORY;
    for (uint32_t i = 0; i < engine->slots; i++) {
        struct channel *channel = &poller->channels[i];
        channel->inbox = poller->inboxes + (size_t)i * poller->inbox_bytes;
        channel->receive.kind = KIND_RECEIVE;
        channel->receive.connection = channel->send.connection = &engine->connections[i];
    }
    return 0;
}

int poller_open(struct engine *engine)
{
    struct poller *poller = calloc(1, sizeof *poller);
    if (poller == NULL)
        return OUT_OF_MEMORY;
    engine->poller = poller;
    int error = allocate_channels(engine, poller);
    if (error)
        return error;
    WSADATA data;
    error = WSAStartup(MAKEWORD(2, 2), &data);
    if (error)
        return error;
    poller->winsock = true;
    poller->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (poller->port == NULL)
        return (int)GetLastError();
    error = ask_a_socket(poller);
    if (!error)
        error = watch_timer(poller);
    if (!error && engine->options.stop >= 0)
        error = watch_stop(engine, poller);
    return error;
}

/* Take completions until none can come any more; false where some are lost and their memory must stay. */
static bool drain(struct poller *poller)
{
    ULONGLONG deadline_ms = GetTickCount64() + DRAIN_MS;
    while (poller->in_flight > 0 && GetTickCount64() < deadline_ms) {
        ULONG count = 0;
        if (!GetQueuedCompletionStatusEx(poller->port, poller->entries, ENTRIES_PER_WAIT, &count,
                                         DRAIN_WAIT_MS, FALSE))
            continue;
        for (ULONG i = 0; i < count; i++)
            if (poller->entries[i].lpOverlapped != NULL)
                poller->in_flight--;
    }
    return poller->in_flight == 0;
}

bool poller_close(struct engine *engine)
{
    struct poller *poller = engine->poller;
    if (poller == NULL)
        return true;
    /* With INVALID_HANDLE_VALUE it returns when no callback runs any more. */
    if (poller->stop_wait != NULL)
        UnregisterWaitEx(poller->stop_wait, INVALID_HANDLE_VALUE);
    if (poller->timer_wait != NULL)
        UnregisterWaitEx(poller->timer_wait, INVALID_HANDLE_VALUE);
    if (poller->stop_event != NULL) {
        WSAEventSelect((SOCKET)engine->options.stop, NULL, 0);
        WSACloseEvent(poller->stop_event);
    }
    if (poller->timer != NULL)
        CloseHandle(poller->timer);
    bool drained = drain(poller);
    if (poller->port != NULL)
        CloseHandle(poller->port);
    if (poller->winsock)
        WSACleanup();
    engine->poller = NULL;
    if (!drained)
        return false;
    free(poller->channels);
    free(poller->inboxes);
    free(poller);
    return true;
}

/* --- one connection --- */

static struct channel *channel_of(const struct engine *engine, const struct connection *connection)
{
    const struct poller *poller = engine->poller;
    return &poller->channels[connection->index];
}

/* What became of a call that started an operation: the system's error number, or 0 and whether it is `done`
 * already, without a packet to come. */
static int started(struct engine *engine, struct operation *operation, bool succeeded, bool *done)
{
    struct poller *poller = engine->poller;
    int error = succeeded ? 0 : WSAGetLastError();
    *done = succeeded && channel_of(engine, operation->connection)->skips;
    if (error != 0 && error != WSA_IO_PENDING)
        return error;
    operation->in_flight = !*done;
    poller->in_flight += operation->in_flight;
    return 0;
}

static int prepare(const struct engine *engine, const struct connection *connection)
{
    const struct engine_options *options = &engine->options;
    const struct poller *poller = engine->poller;
    SOCKET socket = connection->socket;
    DWORD on = 1;
    if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on))
        return WSAGetLastError();
    /* A wish that a system before Windows 10 doesn't know. Without it all source addresses share the same
     * 16 384 ports. */
    setsockopt(socket, SOL_SOCKET, SO_REUSE_UNICASTPORT, (const char *)&on, sizeof on);
    struct sockaddr_in source = {.sin_family = AF_INET};
    if (options->source_count > 0)
        source.sin_addr.s_addr = options->sources[connection->index % options->source_count];
    if (bind(socket, (struct sockaddr *)&source, sizeof source)) /* ConnectEx wants it bound */
        return WSAGetLastError();
    if (CreateIoCompletionPort((HANDLE)socket, poller->port, KEY_OPERATION, 0) == NULL)
        return (int)GetLastError();
    UCHAR modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
    channel_of(engine, connection)->skips =
        poller->may_skip && SetFileCompletionNotificationModes((HANDLE)socket, modes);
    return 0;
}

static void connected(struct engine *engine, struct connection *connection);

bool poller_is_vacant(const struct engine *engine, const struct connection *connection)
{
    const struct channel *channel = channel_of(engine, connection);
    return !channel->send.in_flight && !channel->receive.in_flight;
}

void poller_connect(struct engine *engine, struct connection *connection)
{
    struct poller *poller = engine->poller;
    struct channel *channel = channel_of(engine, connection);
    /* Or the kernel might still write to what is in flight. */
    assert(poller_is_vacant(engine, connection));
    connection->socket = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                                    WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (connection->socket == INVALID_SOCKET) {
        fail(engine, connection, WSAGetLastError());
        return;
    }
    bool done = false;
    int error = prepare(engine, connection);
    if (!error) {
        struct sockaddr_in server = {
            .sin_family = AF_INET,
            .sin_port = engine->options.port,
            .sin_addr.s_addr = engine->options.address,
        };
        channel->send.kind = KIND_CONNECT;
        channel->send.overlapped = (OVERLAPPED){0};
        BOOL succeeded = poller->connect_ex(connection->socket, (struct sockaddr *)&server, sizeof server,
                                            NULL, 0, NULL, &channel->send.overlapped);
        error = started(engine, &channel->send, succeeded, &done);
    }
    if (error)
        fail(engine, connection, error);
    else if (done)
        connected(engine, connection);
}

void poller_stop_stamps(struct engine *engine)
{
    (void)engine; /* Windows stamps no received data */
}

void poller_count(struct engine *engine, const struct connection *connection)
{
    (void)engine;
    (void)connection; /* SIO_TCP_INFO counts, but not everywhere: Wine doesn't know it */
}

void poller_disconnect(struct engine *engine, struct connection *connection, bool by_reset)
{
    if (connection->socket == NO_SOCKET)
        return;
    poller_count(engine, connection);
    if (by_reset) {
        struct linger none = {.l_onoff = 1, .l_linger = 0};
        setsockopt(connection->socket, SOL_SOCKET, SO_LINGER, (const char *)&none, sizeof none);
    }
    /* A request: each operation still completes. That nothing was left to cancel is no failure. */
    CancelIoEx((HANDLE)connection->socket, NULL);
    closesocket(connection->socket);
    connection->socket = NO_SOCKET;
}

/* --- sending --- */

/* What is to be sent next, at most SEND_BYTES_MAX of it; how many pieces that is. */
static DWORD gather(const struct engine *engine, const struct connection *connection, WSABUF *buffers)
{
    const uint32_t message_bytes = engine->options.message_bytes;
    DWORD count = 0;
    uint32_t skip = connection->written_bytes, room = SEND_BYTES_MAX;
    for (uint64_t i = connection->written; i < connection->started && count < MESSAGES_PER_SEND && room > 0;
         i++) {
        const uint8_t *message = message_of(engine, connection, i);
        uint32_t bytes = message_bytes - skip < room ? message_bytes - skip : room;
        buffers[count++] = (WSABUF){.len = bytes, .buf = (char *)message + skip};
        room -= bytes;
        skip = 0;
    }
    return count;
}

void poller_send(struct engine *engine, struct connection *connection)
{
    struct operation *operation = &channel_of(engine, connection)->send;
    /* While a send is in flight, its completion sends what has been started since. */
    while (!operation->in_flight && connection->written < connection->started) {
        WSABUF buffers[MESSAGES_PER_SEND];
        DWORD count = gather(engine, connection, buffers);
        bool done;
        operation->kind = KIND_SEND;
        operation->overlapped = (OVERLAPPED){0};
        int failed = WSASend(connection->socket, buffers, count, NULL, 0, &operation->overlapped, NULL);
        int error = started(engine, operation, !failed, &done);
        if (error) {
            fail(engine, connection, error);
            return;
        }
        if (done)
            connection_sent(engine, connection, (uint32_t)operation->overlapped.InternalHigh);
    }
}

/* --- receiving --- */

static void received(struct engine *engine, struct connection *connection, uint32_t bytes)
{
    if (bytes == 0)
        engine_lost(engine, connection, FAILURE_CLOSED);
    else
        engine_received(engine, connection, channel_of(engine, connection)->inbox, bytes, 0);
}

static void receive(struct engine *engine, struct connection *connection)
{
    struct poller *poller = engine->poller;
    struct channel *channel = channel_of(engine, connection);
    struct operation *operation = &channel->receive;
    /* With churn what was received may have ended one life and begun the next, which has its receive. */
    for (int round = 1; connection->state == CONNECTION_OPEN && !operation->in_flight; round++) {
        WSABUF buffer = {.len = poller->inbox_bytes, .buf = (char *)channel->inbox};
        DWORD flags = 0;
        bool done;
        operation->overlapped = (OVERLAPPED){0};
        int failed = WSARecv(connection->socket, &buffer, 1, NULL, &flags, &operation->overlapped, NULL);
        int error = started(engine, operation, !failed, &done);
        if (!error && !done)
            return;
        uint32_t bytes = (uint32_t)operation->overlapped.InternalHigh;
        if (!error && round == RECEIVES_AT_ONCE) {
            if (PostQueuedCompletionStatus(poller->port, bytes, KEY_OPERATION, &operation->overlapped)) {
                operation->in_flight = true;
                poller->in_flight++;
                return;
            }
            error = (int)GetLastError();
        }
        if (error)
            fail(engine, connection, error);
        else
            received(engine, connection, bytes);
    }
}

/* --- completions --- */

static void connected(struct engine *engine, struct connection *connection)
{
    if (setsockopt(connection->socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0)) {
        fail(engine, connection, WSAGetLastError());
        return;
    }
    engine_connected(engine, connection);
    receive(engine, connection);
}

static void completed(struct engine *engine, struct operation *operation, DWORD bytes)
{
    struct connection *connection = operation->connection;
    DWORD flags;
    if (connection->state == CONNECTION_CLOSED || connection->state == CONNECTION_NEW) {
        /* Cancelled, when it was closed. */
        if (poller_is_vacant(engine, connection))
            engine_vacant(engine, connection);
        return;
    }
    /* Internal is the kernel's status, 0 for success. Only the call can say it in Winsock's numbers; it would
     * look the socket up each time. */
    if (operation->overlapped.Internal != 0 &&
        !WSAGetOverlappedResult(connection->socket, &operation->overlapped, &bytes, FALSE, &flags)) {
        fail(engine, connection, WSAGetLastError());
        return;
    }
    switch (operation->kind) {
    case KIND_CONNECT:
        connected(engine, connection);
        break;
    case KIND_RECEIVE:
        received(engine, connection, bytes);
        receive(engine, connection);
        break;
    case KIND_SEND:
        connection_sent(engine, connection, bytes);
        poller_send(engine, connection);
        break;
    }
}

/* Wake the loop at `until_ns`, unless the timer is set to that already, which it is while load comes in. */
static void set_timer(struct poller *poller, uint64_t now_ns, uint64_t until_ns)
{
    if (poller->timer == NULL || until_ns == poller->timer_ns)
        return;
    LARGE_INTEGER due = {.QuadPart = -(LONGLONG)((until_ns - now_ns + 99) / 100)}; /* negative: from now */
    if (SetWaitableTimer(poller->timer, &due, 0, NULL, NULL, FALSE))
        poller->timer_ns = until_ns;
}

int poller_wait(struct engine *engine, uint64_t now_ns, uint64_t until_ns, bool *found)
{
    struct poller *poller = engine->poller;
    uint64_t timeout_ms = 0;
    if (until_ns > now_ns && !engine->options.spin) {
        set_timer(poller, now_ns, until_ns);
        /* Rounded up, and then to a tick: the timer is faster. Where there is none a closed loop spins
         * nothing; what is due in an open loop mustn't be late. */
        bool exact = engine->open_loop && poller->timer == NULL;
        timeout_ms = exact ? (until_ns - now_ns) / NS_PER_MS : (until_ns - now_ns - 1) / NS_PER_MS + 1;
    }
    ULONG count = 0;
    *found = false;
    if (!GetQueuedCompletionStatusEx(poller->port, poller->entries, ENTRIES_PER_WAIT, &count,
                                     timeout_ms > WAIT_MS_MAX ? WAIT_MS_MAX : (DWORD)timeout_ms, FALSE))
        return GetLastError() == WAIT_TIMEOUT ? 0 : (int)GetLastError();
    for (ULONG i = 0; i < count; i++) {
        const OVERLAPPED_ENTRY *entry = &poller->entries[i];
        if (entry->lpOverlapped == NULL) {
            if (entry->lpCompletionKey == KEY_STOP)
                engine->stopping = true;
            else
                poller->timer_ns = 0; /* if it was early, by its own clock, it has to be set again */
            continue;
        }
        *found = true;
        struct operation *operation =
            (struct operation *)((char *)entry->lpOverlapped - offsetof(struct operation, overlapped));
        assert(operation->in_flight && poller->in_flight > 0);
        operation->in_flight = false;
        poller->in_flight--;
        completed(engine, operation, entry->dwNumberOfBytesTransferred);
    }
    return 0;
}

#endif
