/*
 * Keeps the C library's allocator, but clears the whole Wasm pages inside large blocks when they
 * are freed. Link this object into an unchanged program, and let the linker wrap `free` and
 * `realloc`:
 *
 *     clang --target=wasm32-wasi program.c palimpsest_clear_large.c \
 *         -Wl,--wrap=free,--wrap=realloc -o program.wasm
 *
 * The allocator still owns the addresses, and merges and reuses them. Only their frames are
 * released. This is for hosts that have `clear_pages` but no heap, and for comparison. Blocks
 * without a whole Wasm page are not cleared, so their frames remain in use even if many adjacent
 * blocks are free.
 *
 * dlmalloc, the allocator of wasi-libc, keeps the following words in and around a *free* block of
 * `usable` bytes at `block`. They must not be cleared. A word has the size of size_t:
 *
 *     block - 2 words           size of the previous chunk, if it is free   outside the block
 *     block - 1 word            size and flags of this chunk                outside the block
 *     block                     6 words: links of the free list to the next and previous chunk. A
 *                               large chunk also has two children, a parent and the tree's index
 *     block + usable - 1 word   size of this chunk again, for the next chunk
 *     block + usable            size and flags of the next chunk            outside the block
 *
 * A chunk that is merged with free neighbours keeps these words at its new ends, outside the block.
 * dlmalloc assumes nothing about the other bytes of a free chunk. Even its calloc writes zeros.
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

/* Clears the payload of a free chunk, except for the words that dlmalloc keeps in it. */
static void clear_free_chunk(char *payload, size_t length)
{
    if (length > LINKS + SIZE_AT_THE_END)
        palimpsest_clear_inside(payload + LINKS, length - LINKS - SIZE_AT_THE_END);
}

/* Clears before it frees, because dlmalloc then writes its links into the block. */
void __wrap_free(void *block)
{
    palimpsest_clear_inside(block, malloc_usable_size(block));
    __real_free(block);
}

/*
 * dlmalloc frees the old block, or its tail, by an internal call that no linker can wrap. Comparing
 * the block before and after the call shows what was freed.
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
    /* The payload of the tail starts after its size and flags. */
    const size_t after = malloc_usable_size(result);
    if (after + WORD < before)
        clear_free_chunk(result + after + WORD, before - after - WORD);
    return result;
}
