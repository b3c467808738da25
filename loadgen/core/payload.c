/* The random buffer that all messages are pieces of. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

/* splitmix64 (Steele, Lea and Flood, 2014): one multiplication chain, no state to set up, passes BigCrush. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

int payload_open(struct payload *payload, uint32_t message_bytes, uint64_t seed)
{
    size_t size = ((size_t)message_bytes + PAYLOAD_BEGINS + 7) / 8 * 8;
    payload->bytes = malloc(size);
    if (payload->bytes == NULL)
        return OUT_OF_MEMORY;
    payload->message_bytes = message_bytes;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t random = next_random(&seed);
        memcpy(payload->bytes + i, &random, 8);
    }
    return 0;
}

void payload_close(struct payload *payload)
{
    free(payload->bytes);
    payload->bytes = NULL;
}
