/* Linux: the sockets are non-blocking and epoll, level-triggered, says which of them have something.
 *
 * Level-triggered, one read for each report: an edge would have to be drained, and the read that finds
 * nothing costs as much as one that finds something. Reading goes on while a large message is still being
 * written; otherwise two full socket buffers would wait for each other for ever.
 */
#ifdef __linux__

#include "core.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/net_tstamp.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441 /* the same on all machines */
#endif

enum {
    EVENTS_PER_WAIT = 1024, /* 1000 ready connections in one call, and still under 5 ms to handle */
    INBOX_BYTES = 256 * 1024,
    STAMPED_CONNECTIONS = 64,
    MESSAGES_PER_SEND = 64,
};

struct poller {
    int epoll;
    bool no_pwait2; /* before Linux 5.11, or forbidden in this container */
    struct epoll_event events[EVENTS_PER_WAIT];
    uint8_t inbox[INBOX_BYTES];
};

static enum failure failure_of(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return FAILURE_REFUSED;
    case ETIMEDOUT:
        return FAILURE_CONNECT_TIMEOUT;
    case EHOSTUNREACH:
    case ENETUNREACH:
        return FAILURE_UNREACHABLE;
    case EADDRNOTAVAIL:
    case EADDRINUSE:
        return FAILURE_NO_PORT;
    case EMFILE:
    case ENFILE:
        return FAILURE_NO_DESCRIPTOR;
    case ECONNRESET:
        return FAILURE_RESET;
    case EPIPE:
        return FAILURE_CLOSED;
    default:
        return FAILURE_OTHER;
    }
}

int poller_open(struct engine *engine)
{
    struct poller *poller = calloc(1, sizeof *poller);
    if (poller == NULL)
        return OUT_OF_MEMORY;
    engine->poller = poller;
    poller->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (poller->epoll < 0)
        return errno;
    if (engine->options.stop < 0)
        return 0;
    struct epoll_event stop = {.events = EPOLLIN, .data.ptr = NULL};
    return epoll_ctl(poller->epoll, EPOLL_CTL_ADD, (int)engine->options.stop, &stop) ? errno : 0;
}

bool poller_close(struct engine *engine)
{
    struct poller *poller = engine->poller;
    if (poller == NULL)
        return true;
    if (poller->epoll >= 0)
        close(poller->epoll);
    free(poller);
    engine->poller = NULL;
    return true;
}

/* Every n-th connection, so that at most STAMPED_CONNECTIONS are. */
static bool is_stamped(const struct engine *engine, const struct connection *connection)
{
    uint32_t every = (engine->options.connections + STAMPED_CONNECTIONS - 1) / STAMPED_CONNECTIONS;
    return connection->index % every == 0;
}

static int prepare(const struct engine *engine, struct connection *connection)
{
    const struct engine_options *options = &engine->options;
    int fd = connection->socket, on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
        return errno;
    if (is_stamped(engine, connection)) {
        int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
        connection->stamped = setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags) == 0;
    }
    if (options->source_count == 0)
        return 0;
    struct sockaddr_in source = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = options->sources[connection->index % options->source_count],
    };
    /* The port is chosen when connecting, where one in use towards another server can serve again. */
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on))
        return errno;
    return bind(fd, (struct sockaddr *)&source, sizeof source) ? errno : 0;
}

bool poller_is_vacant(const struct engine *engine, const struct connection *connection)
{
    (void)engine;
    (void)connection; /* closing a descriptor ends all that it had */
    return true;
}

void poller_connect(struct engine *engine, struct connection *connection)
{
    struct poller *poller = engine->poller;
    connection->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->socket < 0)
        return engine_lost(engine, connection, failure_of(errno));
    int error = prepare(engine, connection);
    if (error)
        return engine_lost(engine, connection, failure_of(error));
    struct sockaddr_in server = {
        .sin_family = AF_INET,
        .sin_port = engine->options.port,
        .sin_addr.s_addr = engine->options.address,
    };
    bool connected = connect(connection->socket, (struct sockaddr *)&server, sizeof server) == 0;
    if (!connected && errno != EINPROGRESS)
        return engine_lost(engine, connection, failure_of(errno));
    connection->wants_write = !connected;
    struct epoll_event event = {.events = connected ? EPOLLIN : EPOLLOUT, .data.ptr = connection};
    if (epoll_ctl(poller->epoll, EPOLL_CTL_ADD, connection->socket, &event))
        return engine_lost(engine, connection, failure_of(errno));
    if (connected)
        engine_connected(engine, connection);
}

void poller_stop_stamps(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->options.connections; i++) {
        struct connection *connection = &engine->connections[i];
        if (!connection->stamped || connection->state != CONNECTION_OPEN)
            continue;
        int none = 0; /* a failure leaves stamps on, which costs a little and falsifies nothing */
        (void)setsockopt(connection->socket, SOL_SOCKET, SO_TIMESTAMPING, &none, sizeof none);
        connection->stamped = false;
    }
}

void poller_count(struct engine *engine, const struct connection *connection)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (getsockopt(connection->socket, IPPROTO_TCP, TCP_INFO, &info, &size) ||
        size < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received)
        return; /* before Linux 4.1 */
    engine->totals.kernel_counts = true;
    /* The opening itself, which takes a sequence number, was acknowledged, too. */
    engine->totals.kernel_bytes_sent += info.tcpi_bytes_acked - (info.tcpi_bytes_acked > 0);
    engine->totals.kernel_bytes_received += info.tcpi_bytes_received;
}

void poller_disconnect(struct engine *engine, struct connection *connection, bool by_reset)
{
    if (connection->socket < 0)
        return;
    poller_count(engine, connection);
    if (by_reset) {
        struct linger none = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(connection->socket, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    close(connection->socket); /* it leaves the epoll set by itself */
    connection->socket = NO_SOCKET;
    connection->stamped = false;
}

static void watch_write(struct engine *engine, struct connection *connection, bool wanted)
{
    struct poller *poller = engine->poller;
    if (connection->wants_write == wanted)
        return;
    connection->wants_write = wanted;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(poller->epoll, EPOLL_CTL_MOD, connection->socket, &event))
        engine_lost(engine, connection, failure_of(errno));
}

/* Of the started messages as much as one call takes: a single one by the call that costs least. */
static ssize_t send_some(const struct engine *engine, const struct connection *connection)
{
    const uint32_t message_bytes = engine->options.message_bytes;
    struct iovec pieces[MESSAGES_PER_SEND];
    size_t count = 0;
    uint32_t skip = connection->written_bytes;
    for (uint64_t i = connection->written; i < connection->started && count < MESSAGES_PER_SEND; i++) {
        uint8_t *message = (uint8_t *)message_of(engine, connection, i); /* an iovec has no const */
        pieces[count++] = (struct iovec){.iov_base = message + skip, .iov_len = message_bytes - skip};
        skip = 0;
    }
    if (count == 1)
        return send(connection->socket, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
    struct msghdr all = {.msg_iov = pieces, .msg_iovlen = count};
    return sendmsg(connection->socket, &all, MSG_NOSIGNAL);
}

void poller_send(struct engine *engine, struct connection *connection)
{
    while (connection->written < connection->started) {
        ssize_t sent = send_some(engine, connection);
        if (sent < 0) {
            if (errno != EAGAIN)
                return engine_lost(engine, connection, failure_of(errno));
            return watch_write(engine, connection, true);
        }
        connection_sent(engine, connection, (size_t)sent);
    }
    watch_write(engine, connection, false);
}

static void connect_ended(struct engine *engine, struct connection *connection)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(connection->socket, SOL_SOCKET, SO_ERROR, &error, &size))
        error = errno;
    if (error)
        return engine_lost(engine, connection, failure_of(error));
    watch_write(engine, connection, false);
    if (connection->state == CONNECTION_CONNECTING)
        engine_connected(engine, connection);
}

/* Read with the kernel's receive stamp: how many bytes, and how long the last of them had been there. */
static ssize_t receive_stamped(struct poller *poller, int fd, uint64_t *in_client_ns)
{
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(3 * sizeof(struct timespec))];
    } control;
    struct iovec inbox = {.iov_base = poller->inbox, .iov_len = sizeof poller->inbox};
    struct msghdr message = {
        .msg_iov = &inbox,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    ssize_t count = recvmsg(fd, &message, 0);
    if (count <= 0)
        return count;
    uint64_t now_ns = clock_realtime_ns();
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPING)
            continue;
        struct timespec software; /* the first of three; the others are the network card's */
        memcpy(&software, CMSG_DATA(c), sizeof software);
        uint64_t stamp_ns = (uint64_t)software.tv_sec * NS_PER_S + (uint64_t)software.tv_nsec;
        if (stamp_ns && stamp_ns < now_ns) /* the real-time clock may have been set back in between */
            *in_client_ns = now_ns - stamp_ns;
    }
    return count;
}

static void receive(struct engine *engine, struct connection *connection)
{
    struct poller *poller = engine->poller;
    uint64_t in_client_ns = 0;
    ssize_t count;
    if (connection->stamped)
        count = receive_stamped(poller, connection->socket, &in_client_ns);
    else
        count = recv(connection->socket, poller->inbox, sizeof poller->inbox, 0);
    if (count > 0)
        engine_received(engine, connection, poller->inbox, (size_t)count, in_client_ns);
    else if (count == 0)
        engine_lost(engine, connection, FAILURE_CLOSED);
    else if (errno != EAGAIN && errno != EINTR)
        engine_lost(engine, connection, failure_of(errno));
}

/* With thousands of connections what one needs has left the cache since its last request. Fetched while
 * others are handled, first the connection and its start, then the bytes that they point to, it costs less:
 * 0.1 us a request with 10 000 connections. */
static void prefetch(const struct engine *engine, int current, int count)
{
    enum { BYTES_AHEAD = 3, CONNECTION_AHEAD = 6 };
    const struct poller *poller = engine->poller;
    if (current + CONNECTION_AHEAD < count) {
        const struct connection *connection = poller->events[current + CONNECTION_AHEAD].data.ptr;
        if (connection != NULL) {
            size_t index = (size_t)(connection - engine->connections);
            __builtin_prefetch(connection, 1);
            __builtin_prefetch(&engine->starts_ns[index * engine->options.depth], 1);
        }
    }
    if (current + BYTES_AHEAD < count) {
        const struct connection *connection = poller->events[current + BYTES_AHEAD].data.ptr;
        if (connection != NULL) {
            const uint8_t *expected = message_of(engine, connection, connection->completed);
            const uint8_t *next = message_of(engine, connection, connection->started);
            __builtin_prefetch(expected);
            __builtin_prefetch(expected + 63);
            __builtin_prefetch(next);
            __builtin_prefetch(next + 63);
        }
    }
}

/* How many sockets have something, or -1 and `errno`. What is due in an open loop needs a timer that is finer
 * than milliseconds; without one the last of them is spun away. */
static int wait_for_events(struct engine *engine, uint64_t wait_ns)
{
    struct poller *poller = engine->poller;
    bool exact = engine->open_loop && wait_ns > 0;
    if (exact && !poller->no_pwait2) {
        struct timespec timeout = {.tv_nsec = (long)(wait_ns < NS_PER_S ? wait_ns : NS_PER_S - 1)};
        long count =
            syscall(SYS_epoll_pwait2, poller->epoll, poller->events, EVENTS_PER_WAIT, &timeout, NULL, 0);
        poller->no_pwait2 = count < 0 && (errno == ENOSYS || errno == EPERM);
        if (!poller->no_pwait2)
            return (int)count;
    }
    /* Rounded down, the last millisecond of a closed loop's slice would be spun away. */
    uint64_t wait_ms = wait_ns == 0 ? 0 : exact ? wait_ns / NS_PER_MS : (wait_ns - 1) / NS_PER_MS + 1;
    return epoll_wait(poller->epoll, poller->events, EVENTS_PER_WAIT, wait_ms > 1000 ? 1000 : (int)wait_ms);
}

int poller_wait(struct engine *engine, uint64_t now_ns, uint64_t until_ns, bool *found)
{
    struct poller *poller = engine->poller;
    int count = wait_for_events(engine, until_ns > now_ns && !engine->options.spin ? until_ns - now_ns : 0);
    *found = count > 0;
    if (count < 0)
        return errno == EINTR ? 0 : errno;
    for (int i = 0; i < count; i++) {
        prefetch(engine, i, count);
        struct connection *connection = poller->events[i].data.ptr;
        uint32_t events = poller->events[i].events;
        if (connection == NULL) {
            engine->stopping = true;
            epoll_ctl(poller->epoll, EPOLL_CTL_DEL, (int)engine->options.stop,
                      NULL); /* or it is reported for ever */
            continue;
        }
        if (connection->state == CONNECTION_CONNECTING) {
            connect_ended(engine, connection);
            continue;
        }
        if (events & EPOLLOUT && connection->state == CONNECTION_OPEN)
            poller_send(engine, connection);
        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && connection->state == CONNECTION_OPEN)
            receive(engine, connection);
    }
    return 0;
}

#endif
