/*
 * The malloc family of the C library over the host heap. Link this object into an unchanged
 * program, and the memory that it frees returns to the kernel.
 *
 *     clang --target=wasm32-wasi program.c palimpsest_malloc.c \
 *         -Wl,--export=__heap_base -o program.wasm
 *
 * It defines every name that wasi-libc's allocator (dlmalloc.o in libc.a) defines, so the linker
 * does not include that one, and calls from inside the C library reach this one too. The exported
 * `__heap_base` is the end of the program's data, where the heap starts. Without the export, the
 * heap starts at the end of the initial memory.
 *
 * It works for every program that is linked with wasi-libc, including Rust's wasm32-wasip1. There
 * it must be a static library, because rustc places libraries before the C library and objects
 * after it:
 *
 *     clang --target=wasm32-wasi -O2 -c palimpsest_malloc.c
 *     llvm-ar crs libpalimpsest_malloc.a palimpsest_malloc.o
 *     cargo rustc --release --target wasm32-wasip1 -- \
 *         -L $PWD -l static:+whole-archive=palimpsest_malloc -C link-arg=--export=__heap_base
 */
#include "palimpsest.h"

#include <errno.h>

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size);
int posix_memalign(void **result, size_t alignment, size_t size);
size_t malloc_usable_size(void *block);
void free(void *block);

/* The names by which wasi-libc itself calls the allocator. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void __libc_free(void *block);

static void *or_enomem(void *block)
{
    if (block == NULL)
        errno = ENOMEM;
    return block;
}

static int is_power_of_two(size_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

void *malloc(size_t size)
{
    return or_enomem(palimpsest_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return or_enomem(palimpsest_calloc(count, size));
}

/* If the new size is 0, the block is not freed, as in wasi-libc. C leaves this open. */
void *realloc(void *block, size_t size)
{
    return or_enomem(palimpsest_realloc(block, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return or_enomem(palimpsest_aligned_alloc(alignment, size));
}

void *memalign(size_t alignment, size_t size)
{
    return aligned_alloc(alignment, size);
}

/* As POSIX requires, returns the error. An error changes neither errno nor `*result`. */
int posix_memalign(void **result, size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    void *block = palimpsest_aligned_alloc(alignment, size);
    if (block == NULL)
        return ENOMEM;
    *result = block;
    return 0;
}

size_t malloc_usable_size(void *block)
{
    return palimpsest_usable_size(block);
}

void free(void *block)
{
    palimpsest_free(block);
}

void *__libc_malloc(size_t size)
{
    return malloc(size);
}

void *__libc_calloc(size_t count, size_t size)
{
    return calloc(count, size);
}

void __libc_free(void *block)
{
    free(block);
}
