#include "guarded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PATTERN = 0xfe }; /* not a number as a float, none as a half */

struct guarded guarded_new(size_t capacity)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (capacity / page + 2) * page;
    uint8_t *all = mmap(NULL, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all + page, size, PROT_READ | PROT_WRITE) != 0) {
        perror("no memory for guarded buffers");
        exit(1);
    }
    memset(all + page, PATTERN, size);
    return (struct guarded){.pages = all + page, .size = size, .used = all + page};
}

void *guarded_place(struct guarded *g, size_t bytes, enum place place, size_t skew)
{
    memset(g->used, PATTERN, g->bytes);
    g->used = place == AT_START ? g->pages + skew : g->pages + g->size - skew - bytes;
    g->bytes = bytes;
    return g->used;
}

static bool holds_pattern(const uint8_t *from, size_t n)
{
    return n == 0 || (from[0] == PATTERN && memcmp(from, from + 1, n - 1) == 0);
}

bool guarded_intact(const struct guarded *g)
{
    const uint8_t *behind = g->used + g->bytes;
    return holds_pattern(g->pages, (size_t)(g->used - g->pages)) &&
           holds_pattern(behind, (size_t)(g->pages + g->size - behind));
}
