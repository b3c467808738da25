/* An echo server that sockperf's client takes for its own: a client drops replies that are still marked as a
 * client's. Everything else comes back as it was sent, so that any generator can be run against it.
 *
 *     sockperf_echo PORT CPU
 *
 * One connection at a time, blocking, as sockperf has one. Only for benchmarks/generator.py.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 64 };

/* sockperf's message begins with a sequence number, flags and the length, in network order (message.h). */
enum { FLAGS_LOW_BYTE = 9, LENGTH = 10, CLIENT_MARK = 1 };

static void answer_as_server(uint8_t *message)
{
    uint32_t length;
    memcpy(&length, message + LENGTH, sizeof length);
    if (ntohl(length) == MESSAGE_BYTES)
        message[FLAGS_LOW_BYTE] &= (uint8_t)~CLIENT_MARK;
}

static void serve(int connection)
{
    uint8_t message[MESSAGE_BYTES];
    size_t filled = 0;
    for (;;) {
        ssize_t count = recv(connection, message + filled, sizeof message - filled, 0);
        if (count <= 0)
            return;
        filled += (size_t)count;
        if (filled < sizeof message)
            continue;
        answer_as_server(message);
        if (send(connection, message, sizeof message, MSG_NOSIGNAL) != sizeof message)
            return;
        filled = 0;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: sockperf_echo PORT CPU\n");
        return 2;
    }
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[2]), &cpus);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (sched_setaffinity(0, sizeof cpus, &cpus) ||
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("sockperf_echo");
        return 1;
    }
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            continue;
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        serve(connection);
        close(connection);
    }
}
