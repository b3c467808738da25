/* io_uring with a request for each receive and send, and a buffer for each connection: the twin of
   single_shot.py. Linux. */

#ifndef SERVERS_COMPLETION_SINGLE_SHOT_H
#define SERVERS_COMPLETION_SINGLE_SHOT_H

#include "completion/ring_server.h"

static void single_received(struct server *server, struct connection *connection, int32_t result)
{
    if (result <= 0) {
        if (result < 0)
            failed(server, result);
        close_connection(server, connection);
        return;
    }
    connection->length = (uint32_t)result;
    connection->sent = 0;
    send_rest(server, connection, connection->buffer);
}

static void single_sent(struct server *server, struct connection *connection, int32_t result)
{
    if (result <= 0) {
        failed(server, result);
        close_connection(server, connection);
        return;
    }
    connection->sent += (uint32_t)result;
    if (connection->sent < connection->length) /* the kernel waits for all of it since 5.19 */
        send_rest(server, connection, connection->buffer);
    else
        receive_own(server, connection);
}

#endif
