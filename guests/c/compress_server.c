/*
 * Compresses short texts with a dictionary. It is initialized once, and each fork serves one text.
 *
 *     serve(NUMBER)      compresses a text about NUMBER, and prints NUMBER
 *
 * The module is a WASI reactor. Its initialization makes the dictionary's tables and the context,
 * compares a text with its copy, and then marks the point for a snapshot.
 */
#include <palimpsest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { LEVEL = 1, SAMPLES = 1000, LINES = 24, TEXT_BYTES = 2048, PACKED_BYTES = 4096 };

static char sample[SAMPLES * 64];
static char text[TEXT_BYTES];
static char packed[PACKED_BYTES];
static ZSTD_CCtx *context;
static ZSTD_CDict *dictionary;

static void fail(const char *what)
{
    fprintf(stderr, "compress_server: %s\n", what);
    exit(EXIT_FAILURE);
}

static size_t checked(size_t result)
{
    if (ZSTD_isError(result))
        fail(ZSTD_getErrorName(result));
    return result;
}

/* Writes `lines` lines about `number`, and returns their length. */
static size_t write_lines(char *target, size_t capacity, int number, int lines)
{
    size_t length = 0;
    for (int line = 0; line < lines; line++)
        length += (size_t)snprintf(target + length, capacity - length, "request %d, line %d of the log: %d\n",
                                   number, line, (number + line) * 7919 % 1009);
    return length;
}

/* Compresses the text, and returns the length of the result. */
static size_t compress_text(size_t length)
{
    const size_t size = checked(ZSTD_compress_usingCDict(context, packed, sizeof packed, text, length, dictionary));
    if (size >= length / 2)
        fail("the dictionary has no effect");
    return size;
}

/* Decompresses `size` bytes, and compares the copy with the text. */
static void check_copy(size_t size, size_t length, size_t samples)
{
    static char copy[TEXT_BYTES];
    ZSTD_DCtx *decompressor = ZSTD_createDCtx();
    if (decompressor == NULL)
        fail("out of memory");
    const size_t back =
        checked(ZSTD_decompress_usingDict(decompressor, copy, sizeof copy, packed, size, sample, samples));
    if (back != length || memcmp(copy, text, length) != 0)
        fail("the copy differs");
    ZSTD_freeDCtx(decompressor);
}

__attribute__((constructor)) static void initialize(void)
{
    const size_t samples = write_lines(sample, sizeof sample, 0, SAMPLES);
    dictionary = ZSTD_createCDict(sample, samples, LEVEL);
    context = ZSTD_createCCtx();
    if (dictionary == NULL || context == NULL)
        fail("out of memory");
    /* The context allocates its tables at the first use. */
    const size_t length = write_lines(text, sizeof text, 0, LINES);
    check_copy(compress_text(length), length, samples);
    palimpsest_snapshot_ready();
}

__attribute__((export_name("serve"))) void serve(int number)
{
    compress_text(write_lines(text, sizeof text, number, LINES));
    printf("%d\n", number);
    fflush(stdout);
}
