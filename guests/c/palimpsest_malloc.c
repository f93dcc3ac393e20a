/*
 * The C library's malloc family over the host heap: link this object into an unchanged program, and what it
 * frees goes back to the machine.
 *
 *     clang --target=wasm32-wasi program.c palimpsest_malloc.c -Wl,--export=__heap_base -o program.wasm
 *
 * It defines every name that wasi-libc's own allocator (the member dlmalloc.o of libc.a) defines, so that the
 * linker has no reason to take that one as well; the C library's own calls come here too. The export tells the
 * host where the program's data ends; without it the heap begins at the end of the initial memory.
 *
 * Works for every program that is linked with wasi-libc, Rust's wasm32-wasip1 among them. There it has to be a
 * static library, because rustc puts those before the C library and single objects behind it:
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

/* What wasi-libc calls where a program may have replaced `malloc`. */
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

/* A block whose new size is 0 stays, as it does with wasi-libc's own: C leaves that open. */
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

/* POSIX: the error is the result, errno is left alone, and so is `*result` on an error. */
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
