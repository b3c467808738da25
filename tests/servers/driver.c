/* A server in C without Python around it, so that sanitizers see all of the process: `driver MODEL [edge]
   [multishot] [plain] [sqpoll] [large]`. It says what `python -m servers` would, as far as the tests read it.
   The stop socket is stdin: its end makes it readable. */

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "native.h"

typedef int serve_function(socket_t, socket_t, const struct serve_options *, struct serve_counters *);

serve_function serve_epoll, serve_io_uring, serve_poll, serve_select, serve_threads;

static const struct {
    const char *name;
    serve_function *serve;
} models[] = {
    {"epoll", serve_epoll},   {"io_uring", serve_io_uring}, {"poll", serve_poll},
    {"select", serve_select}, {"threads", serve_threads},
};

static void set(struct serve_options *options, const char *word)
{
    if (strcmp(word, "edge") == 0)
        options->edge_triggered = 1;
    if (strcmp(word, "multishot") == 0)
        options->multishot = 1;
    if (strcmp(word, "plain") == 0)
        options->setup = SETUP_PLAIN;
    if (strcmp(word, "sqpoll") == 0)
        options->setup = SETUP_SQPOLL;
    if (strcmp(word, "large") == 0) /* so large that all connections share 32 of them */
        options->buffer_bytes = 1 << 20;
}

static int listen_anywhere(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)address, length) < 0 ||
        listen(listener, 4096) < 0 || getsockname(listener, (struct sockaddr *)address, &length) < 0)
        return -1;
    return listener;
}

int main(int argc, char **argv)
{
    serve_function *serve = NULL;
    for (size_t i = 0; i < sizeof models / sizeof *models && argc > 1; i++)
        if (strcmp(argv[1], models[i].name) == 0)
            serve = models[i].serve;
    struct sockaddr_in address = {0};
    int listener = listen_anywhere(&address);
    if (serve == NULL || listener < 0)
        return EXIT_FAILURE;
    struct serve_options options = {.buffer_bytes = 4096};
    for (int i = 2; i < argc; i++)
        set(&options, argv[i]);
    struct serve_counters counters = {0};
    printf("{\"event\": \"ready\", \"host\": \"127.0.0.1\", \"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    if (serve(listener, 0, &options, &counters) != 0)
        return EXIT_FAILURE;
    printf("{\"event\": \"stopped\", \"connections_accepted\": %llu, \"errors\": {",
           (unsigned long long)counters.connections_accepted);
    for (int i = 0; i < ERROR_KINDS && counters.errors[i].count > 0; i++)
        printf("%s\"%d\": %llu", i > 0 ? ", " : "", (int)counters.errors[i].code,
               (unsigned long long)counters.errors[i].count);
    printf("}}\n");
    return EXIT_SUCCESS;
}
