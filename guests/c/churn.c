/*
 * An ordinary program whose use of memory rises and falls: a table that stays, a large block that
 * is allocated and freed four times, and thousands of small ones. It does not depend on Palimpsest.
 * It prints one line per step, so that its memory can be plotted against its steps.
 *
 *     churn [MIB]      MIB is the size of the large block, 64 by default
 *
 * The exit status is 0 if every block contained what was written into it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ROUNDS = 4,
    MIB = 1 << 20,
    TABLE_BYTES = 8 * MIB,
    SMALL_BLOCKS = 20000,
    SMALLEST = 16,
    SIZES = 1009,
    /* One byte in this many is written, so that every 4 KiB page is touched. */
    STRIDE = 4096
};

static unsigned char *small[SMALL_BLOCKS];

static void fail(const char *what)
{
    fprintf(stderr, "churn: %s\n", what);
    exit(EXIT_FAILURE);
}

static unsigned char *allocate(size_t size)
{
    unsigned char *block = malloc(size);
    if (block == NULL)
        fail("out of memory");
    return block;
}

static unsigned char mark(size_t offset, unsigned seed)
{
    return (unsigned char)(offset / STRIDE * 31 + seed);
}

static void write_marks(unsigned char *block, size_t size, unsigned seed)
{
    for (size_t offset = 0; offset < size; offset += STRIDE)
        block[offset] = mark(offset, seed);
}

static void check_marks(const unsigned char *block, size_t size, unsigned seed)
{
    for (size_t offset = 0; offset < size; offset += STRIDE)
        if (block[offset] != mark(offset, seed))
            fail("a block does not hold what was written into it");
}

static size_t small_size(unsigned index)
{
    return SMALLEST + index * 7919u % SIZES;
}

static void allocate_small(unsigned seed)
{
    for (unsigned index = 0; index < SMALL_BLOCKS; index++) {
        small[index] = allocate(small_size(index));
        write_marks(small[index], small_size(index), index + seed);
    }
}

static void free_small(unsigned first, unsigned step, unsigned seed)
{
    for (unsigned index = first; index < SMALL_BLOCKS; index += step) {
        check_marks(small[index], small_size(index), index + seed);
        free(small[index]);
    }
}

static void run_round(unsigned round, size_t large_size)
{
    unsigned char *large = allocate(large_size);
    write_marks(large, large_size, round);
    printf("round %u: a block of %zu MiB\n", round, large_size / MIB);

    allocate_small(round);
    printf("round %u: and %d small ones\n", round, SMALL_BLOCKS);

    check_marks(large, large_size, round);
    free(large);
    printf("round %u: the large block is freed\n", round);

    free_small(0, 2, round);
    printf("round %u: every second small one is freed\n", round);

    free_small(1, 2, round);
    printf("round %u: all are freed\n", round);
}

int main(int argc, char **argv)
{
    const unsigned long mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
    if (mib == 0 || mib > 1024)
        fail("the large block has 1 to 1024 MiB");
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

    unsigned char *table = allocate(TABLE_BYTES);
    write_marks(table, TABLE_BYTES, 0);
    printf("start: a table of %d MiB\n", TABLE_BYTES / MIB);
    for (unsigned round = 1; round <= ROUNDS; round++)
        run_round(round, mib * MIB);
    check_marks(table, TABLE_BYTES, 0);
    printf("end: the table is as it was\n");
    return EXIT_SUCCESS;
}
