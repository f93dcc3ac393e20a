/*
 * Functions that Palimpsest provides to its guests: clearing memory, which returns its frames to
 * the kernel, a heap whose book-keeping is outside the guest's memory, and the point at which the
 * host should make a snapshot.
 *
 * For C99 and later, and C++; wasm32 and wasm64. Every function is an import from the module
 * "palimpsest". Those that clear or allocate act on memory 0. A module imports only the functions
 * that it calls. Other runtimes refuse to instantiate a module with these imports.
 *
 * A Wasm page has 65,536 bytes. Addresses, sizes and alignments are in bytes.
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

/* The fate of the frames of cleared memory. The memory reads zero in either case. */
enum {
    /* All frames are free. */
    PALIMPSEST_RELEASED = 0,
    /* The host kept some frames and zeroed them: its strategy requires it, or it has no MMU. */
    PALIMPSEST_RETAINED = 1
};

/* --- Clearing --------------------------------------------------------------------------------- */

/*
 * Zeroes `count` Wasm pages from page number `start`, and releases their frames. The size of the
 * memory does not change, and the pages can be written again. `count` may be 0.
 *
 * Returns PALIMPSEST_RELEASED or PALIMPSEST_RETAINED. Traps if a page is out of bounds.
 */
PALIMPSEST_IMPORT("clear_pages")
int32_t palimpsest_clear_pages(size_t start, size_t count);

/*
 * Like palimpsest_clear_pages, with an address and a length in bytes. Both must be multiples of the
 * Wasm page.
 *
 * Returns PALIMPSEST_RELEASED or PALIMPSEST_RETAINED. Traps if one of them is not a multiple, or if
 * a byte is out of bounds.
 */
PALIMPSEST_IMPORT("discard")
int32_t palimpsest_discard(void *address, size_t length);

/*
 * Clears the whole Wasm pages inside a block that is no longer needed. Does not change the bytes of
 * the block before the first and after the last of these pages. `length` may be 0.
 *
 * Returns the number of bytes that were cleared, a multiple of the Wasm page. Traps if the block is
 * out of bounds.
 */
static inline size_t palimpsest_clear_inside(void *block, size_t length)
{
    const uintptr_t page = PALIMPSEST_WASM_PAGE;
    const uintptr_t start = (uintptr_t)block;
    /* Dividing before adding prevents an overflow at the end of the address space. */
    const uintptr_t first = start / page + (start % page != 0);
    const uintptr_t end = (start + length) / page;
    if (length < page || end <= first)
        return 0;
    palimpsest_clear_pages(first, end - first);
    return (end - first) * page;
}

/* --- The host heap ---------------------------------------------------------------------------- */

/*
 * The allocation functions of <stdlib.h>. Their book-keeping is in the host, so that no write of
 * the guest can damage it. A block of about 4 KiB or more has pages that it shares with no other
 * block. Freeing it releases their frames, except for a few that the host may keep for the next
 * block.
 *
 * Blocks of 16 bytes and more are aligned to 16 bytes, smaller ones to 8. No function sets errno.
 * `palimpsest_malloc.c` defines the functions of the C library with these, and sets errno there.
 *
 * `free`, `realloc` and `usable_size` trap on a pointer that no function here has returned, or that
 * was freed, unless the host is configured to ignore it.
 */

/* Allocates at least `size` bytes, not initialized. Returns NULL if the memory cannot grow. */
PALIMPSEST_IMPORT("malloc")
void *palimpsest_malloc(size_t size);

/* Allocates `count` times `size` zeroed bytes. Returns NULL also if the product overflows. */
PALIMPSEST_IMPORT("calloc")
void *palimpsest_calloc(size_t count, size_t size);

/*
 * Resizes a block, which may move, and keeps its contents up to the smaller of both sizes. If the
 * memory cannot grow, returns NULL and leaves the block unchanged. Allocates if `block` is NULL. If
 * `size` is 0, shrinks the block to the smallest size but does not free it.
 */
PALIMPSEST_IMPORT("realloc")
void *palimpsest_realloc(void *block, size_t size);

/* Allocates at a multiple of `alignment`. Returns NULL also if that is not a power of two. */
PALIMPSEST_IMPORT("aligned_alloc")
void *palimpsest_aligned_alloc(size_t alignment, size_t size);

/* Frees a block. Ignores NULL. */
PALIMPSEST_IMPORT("free")
void palimpsest_free(void *block);

/* Returns the size of a block, which is at least the requested size. Returns 0 for NULL. */
PALIMPSEST_IMPORT("usable_size")
size_t palimpsest_usable_size(void *block);

/* --- Snapshots -------------------------------------------------------------------------------- */

/*
 * Marks the point at which the program is initialized, so that the host may make a snapshot and
 * start forks of it. The host makes it when the exported function that it has called returns, so
 * call this last in that function. A host that makes no snapshots ignores it.
 *
 * Forks start with the memory of the snapshot. What should differ between them, for example the
 * seed of random numbers, must be read afterwards.
 */
PALIMPSEST_IMPORT("snapshot_ready")
void palimpsest_snapshot_ready(void);

#ifdef __cplusplus
}
#endif

#endif
