/*
 * What Palimpsest offers to its guests beside WebAssembly itself: clearing that gives memory back to the
 * machine, and a heap that is kept outside of the guest's memory.
 *
 * C99 and later, and C++; wasm32 and wasm64. Every function is an import of the module "palimpsest" and acts on
 * memory 0; a module that calls none of them imports none. A runtime that has no such module refuses to
 * instantiate one that does.
 *
 * Units: a Wasm page is 65,536 bytes; addresses, sizes and alignments are in bytes.
 */
#ifndef PALIMPSEST_H
#define PALIMPSEST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The size of a Wasm page in bytes. */
#define PALIMPSEST_WASM_PAGE ((size_t)65536)

#define PALIMPSEST_IMPORT(name) __attribute__((import_module("palimpsest"), import_name(name)))

/* What became of the frames behind cleared memory; the bytes read zero in either case. */
enum {
    /* All of them are free again. */
    PALIMPSEST_RELEASED = 0,
    /* They were zeroed, and the host kept some: its strategy says so, or it has no MMU. */
    PALIMPSEST_RETAINED = 1
};

/* --- Clearing ---------------------------------------------------------------------------------------------- */

/*
 * Makes `count` Wasm pages from the Wasm page number `start` on read zero, and gives their frames back. The
 * memory's size stays, and the pages can be written again. `count` may be 0.
 *
 * Returns PALIMPSEST_RELEASED or PALIMPSEST_RETAINED. Traps if a page lies outside of the memory.
 */
PALIMPSEST_IMPORT("clear_pages")
int32_t palimpsest_clear_pages(size_t start, size_t count);

/*
 * The same with an address and a length in bytes, both multiples of the Wasm page.
 *
 * Returns PALIMPSEST_RELEASED or PALIMPSEST_RETAINED. Traps if one of them is no multiple, or if a byte lies
 * outside of the memory.
 */
PALIMPSEST_IMPORT("discard")
int32_t palimpsest_discard(void *address, size_t length);

/*
 * Gives back the Wasm pages that lie entirely inside of a block which is no longer needed. Bytes of the block
 * before the first and behind the last of these pages are left as they are. `length` may be 0.
 *
 * Returns the number of bytes that were cleared, a multiple of the Wasm page. Traps if the block does not lie
 * inside of the memory.
 */
static inline size_t palimpsest_clear_inside(void *block, size_t length)
{
    const uintptr_t page = PALIMPSEST_WASM_PAGE;
    const uintptr_t start = (uintptr_t)block;
    /* Dividing first keeps a block at the end of the address space from wrapping around. */
    const uintptr_t first = start / page + (start % page != 0);
    const uintptr_t behind = (start + length) / page;
    if (length < page || behind <= first)
        return 0;
    palimpsest_clear_pages(first, behind - first);
    return (behind - first) * page;
}

/* --- The host heap ----------------------------------------------------------------------------------------- */

/*
 * The functions of <stdlib.h>, with their book-keeping in the host: no write of the guest's can damage it. A
 * large block, from about 4 KiB on, has pages of its own, and their frames are free as soon as it is, but for a
 * few that the host may keep back for the next one. Blocks of 16 bytes and more are aligned to 16, smaller ones
 * to 8. No function sets errno; `palimpsest_malloc.c` defines the C library's names on top of these, which do.
 *
 * A pointer that no function here has returned, or that was freed before, traps in `free`, `realloc` and
 * `usable_size`, unless the host is set up to ignore it.
 */

/* A block of at least `size` bytes, with undefined contents. NULL if the memory cannot grow that far. */
PALIMPSEST_IMPORT("malloc")
void *palimpsest_malloc(size_t size);

/* A block of `count` times `size` bytes that reads zero. NULL also if the product is no size. */
PALIMPSEST_IMPORT("calloc")
void *palimpsest_calloc(size_t count, size_t size);

/*
 * Changes a block's size and keeps its contents as far as both sizes go; the block may move. NULL, and the old
 * block as it was, if the memory cannot grow that far. A NULL `block` makes a new one; a `size` of 0 keeps the
 * block, as small as can be.
 */
PALIMPSEST_IMPORT("realloc")
void *palimpsest_realloc(void *block, size_t size);

/* A block at a multiple of `alignment`. NULL also if that is no power of two. */
PALIMPSEST_IMPORT("aligned_alloc")
void *palimpsest_aligned_alloc(size_t alignment, size_t size);

/* Ends a block. NULL is ignored. */
PALIMPSEST_IMPORT("free")
void palimpsest_free(void *block);

/* How many bytes the block has, at least as many as were asked for; 0 for NULL. */
PALIMPSEST_IMPORT("usable_size")
size_t palimpsest_usable_size(void *block);

#ifdef __cplusplus
}
#endif

#endif
