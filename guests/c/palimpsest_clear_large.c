/*
 * The C library's own allocator, with the Wasm pages inside of large freed blocks given back: link this object
 * into an unchanged program, and have the linker put it before `free` and `realloc`.
 *
 *     clang --target=wasm32-wasi program.c palimpsest_clear_large.c -Wl,--wrap=free,--wrap=realloc ...
 *
 * The addresses stay with the allocator, which goes on to merge and reuse them; only the frames behind them go.
 * For hosts that have `clear_pages` but no heap, and to compare. Blocks that hold no whole Wasm page are not
 * touched, so their frames stay, however many are free side by side.
 *
 * What must not be cleared is what dlmalloc (wasi-libc's allocator) keeps in a *free* block of `usable` bytes at
 * `block`. Words are of the size of size_t:
 *
 *     block - 2 words   size of the chunk before, if that one is free   not in the block
 *     block - 1 word    this chunk's size and flags                     not in the block
 *     block             links of the free list: next, previous; for a large chunk also two children, the
 *                       parent and the tree's index: 6 words
 *     block + usable - 1 word   this chunk's size again, for the chunk behind it
 *     block + usable    the next chunk's size and flags                 not in the block
 *
 * A chunk that is merged with free neighbours keeps these words at its new ends, outside of the block. dlmalloc
 * never takes the rest of a free chunk to be zero or anything else; even its calloc writes the zeros itself.
 */
#include "palimpsest.h"

void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
size_t malloc_usable_size(void *block);

void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);

#define WORD sizeof(size_t)
#define LINKS (6 * WORD)
#define SIZE_AT_THE_END WORD

/* Clears inside of bytes that belong to a free chunk: all of its payload. */
static void clear_free_chunk(char *payload, size_t length)
{
    if (length > LINKS + SIZE_AT_THE_END)
        palimpsest_clear_inside(payload + LINKS, length - LINKS - SIZE_AT_THE_END);
}

/* The block is still the caller's when it is cleared: dlmalloc writes its links afterwards. */
void __wrap_free(void *block)
{
    palimpsest_clear_inside(block, malloc_usable_size(block));
    __real_free(block);
}

/*
 * dlmalloc frees the old block, or its tail, by a call of its own that no linker can redirect: what it freed is
 * found by comparing before and after.
 */
void *__wrap_realloc(void *block, size_t size)
{
    const size_t before = malloc_usable_size(block);
    const uintptr_t old = (uintptr_t)block;
    char *const result = __real_realloc(block, size);
    if (result == NULL)
        return NULL;
    if ((uintptr_t)result != old) {
        clear_free_chunk((char *)old, before);
        return result;
    }
    /* The tail's payload begins behind its size and flags. */
    const size_t after = malloc_usable_size(result);
    if (after + WORD < before)
        clear_free_chunk(result + after + WORD, before - after - WORD);
    return result;
}
