/* What both ways of completing I/O on Windows need. */

#ifndef SERVERS_COMPLETION_OPERATION_H
#define SERVERS_COMPLETION_OPERATION_H

#include "sockets.h"

enum {
    STOP_TIMEOUT_MS = 5000, /* cancelled operations complete within milliseconds; or something is lost */
    STOP_POLL_MS = 100,
    THREAD_END_MS = 5000, /* the same of a thread that was told to end */
};

/* Why an operation failed, as Winsock calls it: a completion has the name of the kernel's NTSTATUS in Win32
   (ERROR_NETNAME_DELETED for a reset), Winsock what every other model sees (WSAECONNRESET). */
static inline int operation_error(socket_t socket, OVERLAPPED *overlapped)
{
    DWORD transferred, flags;
    if (WSAGetOverlappedResult(socket, overlapped, &transferred, FALSE, &flags))
        return ERROR_OPERATION_ABORTED; /* it reported a failure that it has forgotten since */
    return WSAGetLastError();
}

/* Wait until `stop` becomes readable. */
static inline void wait_for(socket_t stop)
{
    struct pollfd watched = {.fd = stop, .events = READABLE};
    while (socket_poll(&watched, 1, -1) == 0)
        ;
}

/* Wait until `thread` has ended and let go of it; false where it doesn't. */
static inline bool join(HANDLE thread)
{
    bool has_ended = WaitForSingleObject(thread, THREAD_END_MS) == WAIT_OBJECT_0;
    (void)CloseHandle(thread);
    return has_ended;
}

#endif
