/* Windows: every operation is started at once and a completion port says which are done.
 *
 * A connection has two operations, one that receives and one that connects and then sends. What they point to
 * lives as long as the poller, since the kernel writes there until their completions have come, also after a
 * cancel: the poller counts what is in flight and frees nothing before that is zero. What is sent is the
 * payload itself, which never changes, so nothing is copied.
 *
 * Source: "I/O Completion Ports", ConnectEx, GetQueuedCompletionStatusEx in the Win32 reference.
 */
#ifdef _WIN32

#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <ws2tcpip.h>

#include <mswsock.h>
#include <windows.h>

#ifndef SIO_TCP_INITIAL_RTO
#define SIO_TCP_INITIAL_RTO _WSAIOW(IOC_VENDOR, 17)
#endif
#ifndef SO_REUSE_UNICASTPORT
#define SO_REUSE_UNICASTPORT 0x3007
#endif

enum {
    ENTRIES_PER_WAIT = 1024,
    INBOX_BYTES_MIN = 4096,
    INBOX_BYTES_MAX = 65536,
    MESSAGES_PER_SEND = 16,
    DRAIN_MS = 5000, /* cancelled operations complete within milliseconds; past this something is lost */
};

enum kind { KIND_CONNECT, KIND_RECEIVE, KIND_SEND, KIND_STOP };

struct operation {
    OVERLAPPED overlapped;
    struct connection *connection;
    enum kind kind;
    bool in_flight;
};

struct channel {
    struct operation receive;
    struct operation send; /* first it connects */
    uint8_t *inbox;
};

struct poller {
    HANDLE port;
    LPFN_CONNECTEX connect_ex;
    struct channel *channels;
    uint8_t *inboxes;
    uint32_t inbox_bytes;
    uint32_t in_flight;
    struct operation stop;
    char stop_byte;
    bool winsock;
    OVERLAPPED_ENTRY entries[ENTRIES_PER_WAIT];
};

static enum failure failure_of(int error)
{
    switch (error) {
    case WSAECONNREFUSED:
    case ERROR_CONNECTION_REFUSED:
        return FAILURE_REFUSED;
    case WSAETIMEDOUT:
    case ERROR_SEM_TIMEOUT:
        return FAILURE_CONNECT_TIMEOUT;
    case WSAENETUNREACH:
    case WSAEHOSTUNREACH:
        return FAILURE_UNREACHABLE;
    case WSAEADDRINUSE:
    case WSAEADDRNOTAVAIL:
        return FAILURE_NO_PORT;
    case WSAEMFILE:
    case WSAENOBUFS:
        return FAILURE_NO_DESCRIPTOR;
    case WSAECONNRESET:
    case WSAECONNABORTED:
    case ERROR_NETNAME_DELETED:
    case ERROR_CONNECTION_ABORTED:
        return FAILURE_RESET;
    case WSAESHUTDOWN:
        return FAILURE_CLOSED;
    default:
        return FAILURE_OTHER;
    }
}

/* --- opening and closing --- */

static int find_connect_ex(struct poller *poller)
{
    GUID which = WSAID_CONNECTEX;
    DWORD bytes;
    SOCKET any = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    if (any == INVALID_SOCKET)
        return WSAGetLastError();
    int failed = WSAIoctl(any, SIO_GET_EXTENSION_FUNCTION_POINTER, &which, sizeof which, &poller->connect_ex,
                          sizeof poller->connect_ex, &bytes, NULL, NULL);
    int error = failed ? WSAGetLastError() : 0;
    closesocket(any);
    return error;
}

static void count_started(struct poller *poller, struct operation *operation)
{
    operation->in_flight = true;
    poller->in_flight++;
}

/* A started call's outcome: 0 where its completion will come, also if it is done already. */
static int started(struct poller *poller, struct operation *operation, bool succeeded)
{
    int error = succeeded ? 0 : WSAGetLastError();
    if (error != 0 && error != WSA_IO_PENDING)
        return error;
    count_started(poller, operation);
    return 0;
}

static int watch_stop(struct engine *engine, struct poller *poller)
{
    SOCKET stop = (SOCKET)engine->options.stop;
    WSABUF buffer = {.len = 1, .buf = &poller->stop_byte};
    DWORD flags = 0;
    poller->stop.kind = KIND_STOP;
    if (CreateIoCompletionPort((HANDLE)stop, poller->port, 0, 0) == NULL)
        return (int)GetLastError();
    int failed = WSARecv(stop, &buffer, 1, NULL, &flags, &poller->stop.overlapped, NULL);
    return started(poller, &poller->stop, !failed);
}

int poller_open(struct engine *engine)
{
    uint32_t connections = engine->options.connections;
    struct poller *poller = calloc(1, sizeof *poller);
    if (poller == NULL)
        return ENOMEM;
    engine->poller = poller;
    uint32_t inbox_bytes = engine->options.message_bytes;
    inbox_bytes = inbox_bytes < INBOX_BYTES_MIN ? INBOX_BYTES_MIN : inbox_bytes;
    poller->inbox_bytes = inbox_bytes > INBOX_BYTES_MAX ? INBOX_BYTES_MAX : inbox_bytes;
    poller->channels = calloc(connections, sizeof *poller->channels);
    poller->inboxes = malloc((size_t)connections * poller->inbox_bytes);
    if (poller->channels == NULL || poller->inboxes == NULL)
        return ENOMEM;
    for (uint32_t i = 0; i < connections; i++) {
        struct channel *channel = &poller->channels[i];
        channel->inbox = poller->inboxes + (size_t)i * poller->inbox_bytes;
        channel->receive.kind = KIND_RECEIVE;
        channel->receive.connection = channel->send.connection = &engine->connections[i];
    }
    WSADATA data;
    int error = WSAStartup(MAKEWORD(2, 2), &data);
    if (error)
        return error;
    poller->winsock = true;
    poller->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (poller->port == NULL)
        return (int)GetLastError();
    error = find_connect_ex(poller);
    return error || engine->options.stop < 0 ? error : watch_stop(engine, poller);
}

/* Take completions until none can come any more; false where some are lost and their memory must stay. */
static bool drain(struct poller *poller)
{
    ULONGLONG deadline_ms = GetTickCount64() + DRAIN_MS;
    while (poller->in_flight > 0 && GetTickCount64() < deadline_ms) {
        ULONG count = 0;
        if (GetQueuedCompletionStatusEx(poller->port, poller->entries, ENTRIES_PER_WAIT, &count, 100, FALSE))
            poller->in_flight -= count;
    }
    return poller->in_flight == 0;
}

void poller_close(struct engine *engine)
{
    struct poller *poller = engine->poller;
    if (poller == NULL)
        return;
    if (poller->stop.in_flight)
        CancelIoEx((HANDLE)(SOCKET)engine->options.stop, &poller->stop.overlapped);
    bool drained = drain(poller);
    if (poller->port != NULL)
        CloseHandle(poller->port);
    if (poller->winsock)
        WSACleanup();
    engine->poller = NULL;
    if (!drained)
        return;
    free(poller->channels);
    free(poller->inboxes);
    free(poller);
}

/* --- one connection --- */

static struct channel *channel_of(const struct engine *engine, const struct connection *connection)
{
    const struct poller *poller = engine->poller;
    return &poller->channels[connection->index];
}

static int prepare(const struct engine *engine, const struct connection *connection)
{
    const struct engine_options *options = &engine->options;
    const struct poller *poller = engine->poller;
    SOCKET socket = connection->socket;
    DWORD on = 1, bytes;
    if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on))
        return WSAGetLastError();
    /* Wishes that an older system may not know. Without the first all source addresses share the same 16 384
     * ports; without the second a refused connection is tried again for 2 s. */
    setsockopt(socket, SOL_SOCKET, SO_REUSE_UNICASTPORT, (const char *)&on, sizeof on);
    struct {
        uint16_t rtt;
        uint8_t retransmissions;
    } initial = {.rtt = 0xffff /* the system's */, .retransmissions = 0xfe /* none */};
    WSAIoctl(socket, SIO_TCP_INITIAL_RTO, &initial, sizeof initial, NULL, 0, &bytes, NULL, NULL);
    struct sockaddr_in source = {.sin_family = AF_INET};
    if (options->source_count > 0)
        source.sin_addr.s_addr = options->sources[connection->index % options->source_count];
    if (bind(socket, (struct sockaddr *)&source, sizeof source)) /* ConnectEx wants it bound */
        return WSAGetLastError();
    return CreateIoCompletionPort((HANDLE)socket, poller->port, 0, 0) == NULL ? (int)GetLastError() : 0;
}

void poller_connect(struct engine *engine, struct connection *connection)
{
    struct poller *poller = engine->poller;
    struct operation *operation = &channel_of(engine, connection)->send;
    connection->socket = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                                    WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (connection->socket == INVALID_SOCKET) {
        engine_lost(engine, connection, failure_of(WSAGetLastError()));
        return;
    }
    int error = prepare(engine, connection);
    if (!error) {
        struct sockaddr_in server = {
            .sin_family = AF_INET,
            .sin_port = engine->options.port,
            .sin_addr.s_addr = engine->options.address,
        };
        operation->kind = KIND_CONNECT;
        BOOL connected = poller->connect_ex(connection->socket, (struct sockaddr *)&server, sizeof server,
                                            NULL, 0, NULL, &operation->overlapped);
        error = started(poller, operation, connected);
    }
    if (error)
        engine_lost(engine, connection, failure_of(error));
}

void poller_stop_stamps(struct engine *engine)
{
    (void)engine; /* Windows stamps no received data */
}

void poller_disconnect(struct engine *engine, struct connection *connection)
{
    (void)engine;
    if (connection->socket == INVALID_SOCKET)
        return;
    CancelIoEx((HANDLE)connection->socket, NULL); /* a request: each operation still completes */
    closesocket(connection->socket);
    connection->socket = INVALID_SOCKET;
}

static void receive(struct engine *engine, struct connection *connection)
{
    struct poller *poller = engine->poller;
    struct channel *channel = channel_of(engine, connection);
    WSABUF buffer = {.len = poller->inbox_bytes, .buf = (char *)channel->inbox};
    DWORD flags = 0;
    memset(&channel->receive.overlapped, 0, sizeof channel->receive.overlapped);
    int failed = WSARecv(connection->socket, &buffer, 1, NULL, &flags, &channel->receive.overlapped, NULL);
    int error = started(poller, &channel->receive, !failed);
    if (error)
        engine_lost(engine, connection, failure_of(error));
}

void poller_send(struct engine *engine, struct connection *connection)
{
    struct poller *poller = engine->poller;
    struct operation *operation = &channel_of(engine, connection)->send;
    if (operation->in_flight) /* its completion sends what has been started since */
        return;
    WSABUF buffers[MESSAGES_PER_SEND];
    DWORD count = 0;
    uint32_t skip = connection->written_bytes;
    for (uint64_t i = connection->written; i < connection->started && count < MESSAGES_PER_SEND;
         i++, skip = 0) {
        const uint8_t *message = payload_message(&engine->payload, connection->index, i);
        buffers[count++] =
            (WSABUF){.len = engine->options.message_bytes - skip, .buf = (char *)message + skip};
    }
    if (count == 0)
        return;
    operation->kind = KIND_SEND;
    memset(&operation->overlapped, 0, sizeof operation->overlapped);
    int failed = WSASend(connection->socket, buffers, count, NULL, 0, &operation->overlapped, NULL);
    int error = started(poller, operation, !failed);
    if (error)
        engine_lost(engine, connection, failure_of(error));
}

/* --- completions --- */

static void sent(struct engine *engine, struct connection *connection, uint32_t bytes)
{
    engine->window.bytes_sent += bytes;
    uint64_t written = (uint64_t)connection->written_bytes + bytes;
    connection->written += written / engine->options.message_bytes;
    connection->written_bytes = (uint32_t)(written % engine->options.message_bytes);
    poller_send(engine, connection);
}

static void connected(struct engine *engine, struct connection *connection)
{
    if (setsockopt(connection->socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0)) {
        engine_lost(engine, connection, failure_of(WSAGetLastError()));
        return;
    }
    engine_connected(engine, connection);
    if (connection->state == CONNECTION_OPEN)
        receive(engine, connection);
}

static void received(struct engine *engine, struct connection *connection, uint32_t bytes)
{
    if (bytes == 0) {
        engine_lost(engine, connection, FAILURE_CLOSED);
        return;
    }
    engine_received(engine, connection, channel_of(engine, connection)->inbox, bytes, 0);
    if (connection->state == CONNECTION_OPEN)
        receive(engine, connection);
}

static void completed(struct engine *engine, struct operation *operation)
{
    struct connection *connection = operation->connection;
    DWORD bytes = 0, flags = 0;
    if (connection->state == CONNECTION_CLOSED) /* cancelled, when it was closed */
        return;
    if (!WSAGetOverlappedResult(connection->socket, &operation->overlapped, &bytes, FALSE, &flags)) {
        engine_lost(engine, connection, failure_of(WSAGetLastError()));
        return;
    }
    switch (operation->kind) {
    case KIND_CONNECT:
        connected(engine, connection);
        break;
    case KIND_RECEIVE:
        received(engine, connection, bytes);
        break;
    case KIND_SEND:
        sent(engine, connection, bytes);
        break;
    case KIND_STOP:
        assert(false);
    }
}

int poller_wait(struct engine *engine, uint64_t timeout_ns)
{
    struct poller *poller = engine->poller;
    /* Rounded up: rounded down, the last millisecond would be spent spinning. */
    uint64_t timeout_ms = engine->options.spin ? 0 : timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0);
    ULONG count = 0;
    if (!GetQueuedCompletionStatusEx(poller->port, poller->entries, ENTRIES_PER_WAIT, &count,
                                     timeout_ms > 1000 ? 1000 : (DWORD)timeout_ms, FALSE))
        return GetLastError() == WAIT_TIMEOUT ? 0 : (int)GetLastError();
    poller->in_flight -= count;
    for (ULONG i = 0; i < count; i++) {
        struct operation *operation =
            CONTAINING_RECORD(poller->entries[i].lpOverlapped, struct operation, overlapped);
        operation->in_flight = false;
        if (operation->kind == KIND_STOP)
            engine->stopping = true;
        else
            completed(engine, operation);
    }
    return 0;
}

#endif
