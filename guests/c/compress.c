/*
 * Compresses a file with zstd, decompresses the result, and compares the copy with the file.
 *
 *     compress FILE DIRECTORY      DIRECTORY receives the compressed file and the copy
 *
 * It uses the library's streaming interface and the files of the C library. It prints the sizes in
 * bytes and an FNV-1a checksum of the copy. The exit status is 0 if the copy equals the file.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { LEVEL = 3, PATH_BYTES = 512 };

static char input[1 << 16];
static char output[1 << 16];

static void fail(const char *what, const char *about)
{
    fprintf(stderr, "compress: %s: %s\n", what, about);
    exit(EXIT_FAILURE);
}

static FILE *open_file(const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);
    if (file == NULL)
        fail("cannot open", path);
    return file;
}

static void close_file(FILE *file, const char *path)
{
    if (ferror(file) != 0 || fclose(file) != 0)
        fail("cannot read or write", path);
}

static void write_output(FILE *file, size_t length, const char *path)
{
    if (fwrite(output, 1, length, file) != length)
        fail("cannot write", path);
}

static size_t checked(size_t result)
{
    if (ZSTD_isError(result))
        fail("zstd", ZSTD_getErrorName(result));
    return result;
}

static void compress(const char *from, const char *to)
{
    FILE *source = open_file(from, "rb");
    FILE *target = open_file(to, "wb");
    ZSTD_CCtx *context = ZSTD_createCCtx();
    if (context == NULL)
        fail("zstd", "out of memory");
    checked(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, LEVEL));
    checked(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1));
    for (int at_end = 0; !at_end;) {
        ZSTD_inBuffer in = {input, fread(input, 1, sizeof input, source), 0};
        at_end = in.size < sizeof input;
        size_t rest;
        do {
            ZSTD_outBuffer out = {output, sizeof output, 0};
            rest = checked(ZSTD_compressStream2(context, &out, &in, at_end ? ZSTD_e_end : ZSTD_e_continue));
            write_output(target, out.pos, to);
        } while (at_end ? rest != 0 : in.pos < in.size);
    }
    ZSTD_freeCCtx(context);
    close_file(source, from);
    close_file(target, to);
}

static void decompress(const char *from, const char *to)
{
    FILE *source = open_file(from, "rb");
    FILE *target = open_file(to, "wb");
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (context == NULL)
        fail("zstd", "out of memory");
    size_t expected = 0;
    for (size_t length; (length = fread(input, 1, sizeof input, source)) != 0;) {
        ZSTD_inBuffer in = {input, length, 0};
        while (in.pos < in.size) {
            ZSTD_outBuffer out = {output, sizeof output, 0};
            expected = checked(ZSTD_decompressStream(context, &out, &in));
            write_output(target, out.pos, to);
        }
    }
    if (expected != 0)
        fail("the compressed file breaks off", from);
    ZSTD_freeDCtx(context);
    close_file(source, from);
    close_file(target, to);
}

static long size_of(const char *path)
{
    FILE *file = open_file(path, "rb");
    if (fseek(file, 0, SEEK_END) != 0)
        fail("cannot find the end of", path);
    const long size = ftell(file);
    close_file(file, path);
    return size;
}

/* Returns the checksum of the copy. */
static uint64_t compare(const char *original_path, const char *copy_path)
{
    FILE *original = open_file(original_path, "rb");
    FILE *copy = open_file(copy_path, "rb");
    uint64_t checksum = 14695981039346656037u;
    size_t length;
    do {
        length = fread(input, 1, sizeof input, original);
        if (fread(output, 1, sizeof output, copy) != length || memcmp(input, output, length) != 0)
            fail("the copy differs from", original_path);
        for (size_t index = 0; index < length; index++)
            checksum = (checksum ^ (unsigned char)output[index]) * 1099511628211u;
    } while (length != 0);
    close_file(original, original_path);
    close_file(copy, copy_path);
    return checksum;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        fail("usage", "compress FILE DIRECTORY");
    char compressed[PATH_BYTES];
    char copy[PATH_BYTES];
    if (snprintf(compressed, PATH_BYTES, "%s/compressed.zst", argv[2]) >= PATH_BYTES)
        fail("the path is too long", argv[2]);
    snprintf(copy, PATH_BYTES, "%s/copy", argv[2]);

    compress(argv[1], compressed);
    decompress(compressed, copy);
    const uint64_t checksum = compare(argv[1], copy);
    printf("zstd %s, level %d\n", ZSTD_versionString(), LEVEL);
    printf("%ld bytes became %ld, and %ld again\n", size_of(argv[1]), size_of(compressed), size_of(copy));
    printf("equal byte by byte, checksum %016llx\n", (unsigned long long)checksum);
    return EXIT_SUCCESS;
}
