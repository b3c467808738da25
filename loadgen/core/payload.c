/* The random buffer that all messages are pieces of. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

int payload_open(struct payload *payload, uint32_t message_bytes, uint64_t seed)
{
    size_t size = ((size_t)message_bytes + PAYLOAD_BEGINS + 7) / 8 * 8;
    payload->bytes = malloc(size);
    if (payload->bytes == NULL)
        return OUT_OF_MEMORY;
    payload->message_bytes = message_bytes;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t random = random_next(&seed);
        memcpy(payload->bytes + i, &random, 8);
    }
    return 0;
}

void payload_close(struct payload *payload)
{
    free(payload->bytes);
    payload->bytes = NULL;
}
