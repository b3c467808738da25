/* Sockets under the same names on both systems.

   What can fail returns 0 or the system's error code, or, where it counts bytes or sockets, a negative number
   and leaves the code to socket_error(): errno on Linux, what Winsock calls it on Windows. */

#ifndef SERVERS_SOCKETS_H
#define SERVERS_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#include <winsock2.h>

#include <windows.h>
typedef SOCKET socket_t;
#define EXPORT __declspec(dllexport)
#define NO_SOCKET INVALID_SOCKET
#define OUT_OF_MEMORY ERROR_NOT_ENOUGH_MEMORY
#define WOULD_BLOCK WSAEWOULDBLOCK
#define INTERRUPTED WSAEINTR
#define TIMED_OUT WSAETIMEDOUT
#define READABLE POLLRDNORM /* POLLIN would also tell of urgent data, which nobody takes */
#else
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>
typedef int socket_t;
#define EXPORT __attribute__((visibility("default")))
#define NO_SOCKET (-1)
#define OUT_OF_MEMORY ENOMEM
#define WOULD_BLOCK EAGAIN
#define INTERRUPTED EINTR
#define TIMED_OUT ETIMEDOUT
#define READABLE POLLIN
#endif

#if defined(_WIN32)

static inline int socket_error(void)
{
    return WSAGetLastError();
}

static inline void socket_close(socket_t socket)
{
    (void)closesocket(socket); /* the handle is gone, whatever is returned */
}

static inline int socket_set_blocking(socket_t socket, bool blocks)
{
    u_long is_non_blocking = !blocks;
    return ioctlsocket(socket, FIONBIO, &is_non_blocking) != 0 ? WSAGetLastError() : 0;
}

/* The options that a connection hasn't from its listener: as with_options in listener.py. */
static inline int socket_set_options(socket_t socket, bool blocks)
{
    DWORD on = 1;
    if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on) != 0)
        return WSAGetLastError();
    return socket_set_blocking(socket, blocks); /* until then it is as its listener */
}

static inline int socket_accept(socket_t listener, bool blocks, socket_t *accepted)
{
    *accepted = accept(listener, NULL, NULL);
    if (*accepted == NO_SOCKET)
        return WSAGetLastError();
    int error = socket_set_options(*accepted, blocks);
    if (error != 0) /* reset before it was accepted */
        socket_close(*accepted);
    return error;
}

static inline int64_t socket_receive(socket_t socket, char *data, size_t data_bytes)
{
    return recv(socket, data, (int)data_bytes, 0);
}

static inline int64_t socket_send(socket_t socket, const char *data, size_t data_bytes)
{
    return send(socket, data, (int)data_bytes, 0);
}

/* End both directions: whoever waits in a call on it comes back. */
static inline void socket_shut_down(socket_t socket)
{
    (void)shutdown(socket, SD_BOTH); /* reset meanwhile: whoever uses it knows */
    /* Under Wine a send that waits for a peer which never reads doesn't come back from that alone. */
    (void)CancelIoEx((HANDLE)socket, NULL);
}

/* Wait until one of them is ready: how many are. */
static inline int socket_poll(struct pollfd *watched, uint32_t count, int timeout_ms)
{
    return WSAPoll(watched, count, timeout_ms);
}

/* Whether a failed accept says that the system has no descriptor or memory to give: as in listener.py. */
static inline bool is_exhausted(int code)
{
    return code == WSAEMFILE || code == WSAENOBUFS || code == ERROR_NOT_ENOUGH_MEMORY ||
           code == ERROR_NO_SYSTEM_RESOURCES || code == WSAEINVAL; /* Wine's, or not listening */
}

#else

static inline int socket_error(void)
{
    return errno;
}

static inline void socket_close(socket_t socket)
{
    (void)close(socket); /* the descriptor is gone, whatever is returned */
}

static inline int socket_set_blocking(socket_t socket, bool blocks)
{
    int flags = fcntl(socket, F_GETFL);
    if (flags < 0)
        return errno;
    return fcntl(socket, F_SETFL, blocks ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) < 0 ? errno : 0;
}

static inline int socket_accept(socket_t listener, bool blocks, socket_t *accepted)
{
    *accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC | (blocks ? 0 : SOCK_NONBLOCK));
    return *accepted < 0 ? errno : 0;
}

static inline int64_t socket_receive(socket_t socket, char *data, size_t data_bytes)
{
    return recv(socket, data, data_bytes, 0);
}

static inline int64_t socket_send(socket_t socket, const char *data, size_t data_bytes)
{
    return send(socket, data, data_bytes, MSG_NOSIGNAL);
}

/* End both directions: whoever waits in a call on it comes back. */
static inline void socket_shut_down(socket_t socket)
{
    (void)shutdown(socket, SHUT_RDWR); /* reset meanwhile: whoever uses it knows */
}

/* Wait until one of them is ready: how many are. */
static inline int socket_poll(struct pollfd *watched, uint32_t count, int timeout_ms)
{
    return poll(watched, count, timeout_ms);
}

/* Whether a failed accept says that the system has no descriptor or memory to give. */
static inline bool is_exhausted(int code)
{
    return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM ||
           code == EINVAL; /* not listening: as in listener.py */
}

#endif

/* Wait a moment, or until `stop` becomes readable: for when trying again at once would fail again. */
static inline void pause_for_a_moment(socket_t stop)
{
    enum { PAUSE_MS = 10 };
    struct pollfd watched = {.fd = stop, .events = READABLE};
    (void)socket_poll(&watched, 1, PAUSE_MS); /* interrupted or failed: the pause is shorter, that is all */
}

/* After a failed accept: wait a moment, or until `stop` becomes readable, where the system has nothing to
   give. The connection stays in the backlog and the listener ready: without a pause this would spin. */
static inline void pause_if_exhausted(int code, socket_t stop)
{
    if (is_exhausted(code))
        pause_for_a_moment(stop);
}

#endif
