/* An allocator that finds misuse where no sanitizer runs, which is under Wine: `-include guarded.h` puts it
   in place of malloc and its kind. A piece ends where a page begins that can't be touched, and can't be
   touched itself once it was freed. What is left at exit is told on stderr.

   Its granularity is 16 bytes, since that is what the C library's pieces are aligned to. Addresses are never
   used again, which 64 bits allow. */

#ifndef TESTS_SERVERS_GUARDED_H
#define TESTS_SERVERS_GUARDED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winsock2.h>

#include <windows.h>

/* One for all files of the library. */
__declspec(selectany) volatile LONG64 guarded_count = 0;

enum { GUARDED_PAGE = 4096, GUARDED_ALIGNMENT = 16 };

/* The first page has the size alone; what comes after it ends at the last page, which is the guard. */
static inline void *guarded_malloc(size_t bytes)
{
    size_t room = (bytes + GUARDED_ALIGNMENT - 1) / GUARDED_ALIGNMENT * GUARDED_ALIGNMENT;
    size_t end = GUARDED_PAGE + (room + GUARDED_PAGE - 1) / GUARDED_PAGE * GUARDED_PAGE;
    char *base = VirtualAlloc(NULL, end + GUARDED_PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    DWORD before;
    if (base == NULL || !VirtualProtect(base + end, GUARDED_PAGE, PAGE_NOACCESS, &before))
        return NULL;
    *(size_t *)base = bytes;
    InterlockedIncrement64(&guarded_count);
    return memset(base + end - room, 0xA5, room);
}

static inline void *guarded_calloc(size_t count, size_t bytes)
{
    void *made = guarded_malloc(count * bytes);
    return made != NULL ? memset(made, 0, count * bytes) : NULL;
}

static inline char *guarded_base(void *piece)
{
    MEMORY_BASIC_INFORMATION found;
    if (VirtualQuery(piece, &found, sizeof found) == 0 || found.State != MEM_COMMIT)
        abort(); /* freed already, or never allocated */
    return found.AllocationBase;
}

static inline void guarded_free(void *piece)
{
    if (piece == NULL)
        return;
    if (!VirtualFree(guarded_base(piece), 0, MEM_DECOMMIT))
        abort();
    InterlockedDecrement64(&guarded_count);
}

static inline void *guarded_realloc(void *piece, size_t bytes)
{
    void *made = guarded_malloc(bytes);
    if (made != NULL && piece != NULL) {
        size_t bytes_before = *(size_t *)guarded_base(piece);
        memcpy(made, piece, bytes < bytes_before ? bytes : bytes_before);
        guarded_free(piece);
    }
    return made;
}

__attribute__((destructor)) static void guarded_tell(void)
{
    LONG64 count = InterlockedExchange64(&guarded_count, 0); /* once, though every file has this function */
    if (count != 0)
        fprintf(stderr, "%lld pieces of memory were not freed\n", (long long)count);
    fflush(stderr);
}

#define malloc(bytes) guarded_malloc(bytes)
#define calloc(count, bytes) guarded_calloc(count, bytes)
#define realloc(piece, bytes) guarded_realloc(piece, bytes)
#define free(piece) guarded_free(piece)

#endif
