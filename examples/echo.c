/* An echo server of one thread with epoll. Linux.
 *
 *     gcc -O2 -o echo-c echo.c
 *     ./echo-c 127.0.0.1 9000 [--work-steps N]
 *
 * With --work-steps it does N steps of arithmetic for each piece that it reads, before it answers: a way to
 * have the same server a little slower. A step takes two or three nanoseconds, and as many steps the same
 * time on one machine.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 4096, BACKLOG = 4096, EVENTS_PER_WAIT = 1024 };

struct connection {
    int socket;
    size_t sent, filled; /* of the buffer; while they differ nothing more is read */
    uint8_t buffer[BUFFER_BYTES];
};

static uint64_t work_steps;
static volatile uint64_t work_done; /* somewhere to put the result, or the compiler leaves the work out */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void work(void)
{
    uint64_t x = 88172645463325252; /* xorshift64: each step needs the one before */
    for (uint64_t step = 0; step < work_steps; step++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    work_done = x;
}

static int listen_on(const char *host, const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "%s is no IPv4 address\n", host);
        exit(2);
    }
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) || /* handed down to what it accepts */
        bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, BACKLOG))
        die("listen");
    return listener;
}

static void accept_all(int epoll, int listener)
{
    for (;;) {
        int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (socket < 0 && errno == EAGAIN)
            return;
        if (socket < 0 && (errno == ECONNABORTED || errno == EINTR))
            continue;
        struct connection *connection = socket < 0 ? NULL : malloc(sizeof *connection);
        if (connection == NULL)
            die("accept");
        connection->socket = socket;
        connection->sent = connection->filled = 0;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event))
            die("epoll_ctl");
    }
}

static void end(struct connection *connection)
{
    close(connection->socket); /* which takes it out of the epoll set */
    free(connection);
}

/* Wait for `events` from now on: to read where everything was sent, to send where the peer doesn't take it.
 */
static void wait_for(int epoll, struct connection *connection, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, connection->socket, &event))
        die("epoll_ctl");
}

static void echo(int epoll, struct connection *connection, uint32_t events)
{
    if (connection->sent == connection->filled) {
        ssize_t count = recv(connection->socket, connection->buffer, sizeof connection->buffer, 0);
        if (count < 0 && errno == EAGAIN)
            return;
        if (count <= 0) {
            end(connection);
            return;
        }
        connection->sent = 0;
        connection->filled = (size_t)count;
        work();
    }
    ssize_t count = send(connection->socket, connection->buffer + connection->sent,
                         connection->filled - connection->sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) {
        end(connection);
        return;
    }
    connection->sent += count < 0 ? 0 : (size_t)count;
    uint32_t wanted = connection->sent == connection->filled ? EPOLLIN : EPOLLOUT;
    if (wanted == EPOLLOUT || events & EPOLLOUT)
        wait_for(epoll, connection, wanted);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[3], "--work-steps") == 0)
        work_steps = strtoull(argv[4], NULL, 10);
    else if (argc != 3) {
        fprintf(stderr, "usage: %s HOST PORT [--work-steps N]\n", argv[0]);
        return 2;
    }
    int listener = listen_on(argv[1], argv[2]), epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS_PER_WAIT];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        die("epoll");
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS_PER_WAIT, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == NULL)
                accept_all(epoll, listener);
            else
                echo(epoll, events[i].data.ptr, events[i].events);
        }
    }
}
