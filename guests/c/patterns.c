/*
 * Allocation patterns that cause fragmentation, to compare how much memory and time allocators
 * need. It does not depend on Palimpsest: the linker chooses the allocator.
 *
 *     patterns PATTERN [OPERATIONS]
 *
 *     every-second     many small blocks, every second one freed
 *     growing-realloc  buffers that grow in turn
 *     long-lived       a few long-lived blocks among many short-lived ones
 *     random           malloc, aligned_alloc, realloc and free in any order, 1 byte to 1 MiB
 *
 * After each phase it prints the number of live bytes. The last line contains the number of
 * operations and a checksum of all contents, which is the same with every allocator. It writes the
 * first byte of every block, the last, and one in every 4096: all pages are then in use, and most
 * of the time is the allocator's.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = 65536,
    BUFFERS = 16,
    STRIDE = 4096,
    /* The size of a Wasm page. */
    ALIGNMENT = 65536,
    DEFAULT_OPERATIONS = 20000,
    LEAST_OPERATIONS = 1000,
    MOST_OPERATIONS = 100000000
};

struct slot {
    unsigned char *block;
    size_t size;
    unsigned char fill;
};

struct pattern {
    const char *name;
    void (*run)(unsigned long operations);
};

static struct slot slots[SLOTS];
static const char *running;
static unsigned long operations_done;
static size_t live_bytes;
static uint32_t checksum = 2166136261u;
static uint32_t random_state = 2463534242u;

static void fail(const char *what)
{
    fprintf(stderr, "patterns: %s\n", what);
    exit(EXIT_FAILURE);
}

/* Marsaglia's xorshift. It generates the same numbers on every machine. */
static uint32_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static void phase(const char *what)
{
    printf("%s: %s, %zu bytes live\n", running, what, live_bytes);
}

/* Adds a size or contents to the checksum: one step of FNV-1a. */
static void add_to_checksum(uint32_t value)
{
    checksum = (checksum ^ value) * 16777619u;
}

static void check(const struct slot *slot)
{
    if (slot->block[0] != slot->fill || slot->block[slot->size - 1] != slot->fill)
        fail("a block does not hold what was written into it");
    add_to_checksum((uint32_t)slot->size ^ slot->fill);
}

static void fill(struct slot *slot)
{
    slot->fill = (unsigned char)next_random();
    for (size_t offset = 0; offset < slot->size; offset += STRIDE)
        slot->block[offset] = slot->fill;
    slot->block[slot->size - 1] = slot->fill;
}

static void take(struct slot *slot, unsigned char *block, size_t size)
{
    if (block == NULL)
        fail("out of memory");
    slot->block = block;
    slot->size = size;
    fill(slot);
    live_bytes += size;
    operations_done++;
}

static void allocate(struct slot *slot, size_t size)
{
    take(slot, malloc(size), size);
}

/* Allocates at a multiple of the Wasm page, next to which an allocator may keep its data. */
static void allocate_aligned(struct slot *slot, size_t size)
{
    unsigned char *block = aligned_alloc(ALIGNMENT, (size / ALIGNMENT + 1) * ALIGNMENT);
    if ((uintptr_t)block % ALIGNMENT != 0)
        fail("a block is not aligned as requested");
    take(slot, block, size);
}

static void resize(struct slot *slot, size_t size)
{
    unsigned char *block = realloc(slot->block, size);
    if (block == NULL)
        fail("out of memory");
    if (block[0] != slot->fill)
        fail("realloc has lost a block's contents");
    live_bytes += size - slot->size;
    slot->block = block;
    slot->size = size;
    fill(slot);
    operations_done++;
}

static void release(struct slot *slot)
{
    check(slot);
    free(slot->block);
    live_bytes -= slot->size;
    slot->block = NULL;
    operations_done++;
}

static void release_all(void)
{
    for (size_t index = 0; index < SLOTS; index++)
        if (slots[index].block != NULL)
            release(&slots[index]);
    phase("all freed");
}

static void every_second(unsigned long operations)
{
    size_t blocks = operations / 2 < SLOTS ? operations / 2 : SLOTS;
    for (size_t index = 0; index < blocks; index++)
        allocate(&slots[index], 16 + next_random() % 497);
    phase("all allocated");
    for (size_t index = 0; index < blocks; index += 2)
        release(&slots[index]);
    phase("every second one freed");
    release_all();
}

static void growing_realloc(unsigned long operations)
{
    while (operations_done + 2 * BUFFERS < operations) {
        for (size_t index = 0; index < BUFFERS; index++) {
            struct slot *slot = &slots[index];
            if (slot->block == NULL)
                allocate(slot, 64 + 16 * index);
            else if (slot->size > 1 << 20)
                release(slot);
            else
                resize(slot, slot->size + slot->size / 2);
        }
    }
    phase("grown");
    release_all();
}

static void long_lived(unsigned long operations)
{
    size_t staying = 0;
    while (operations_done + SLOTS / 64 < operations && staying < SLOTS / 2) {
        struct slot *passing = &slots[SLOTS / 2];
        for (size_t index = 0; index < 31; index++)
            allocate(&passing[index], 32 + next_random() % 8000);
        allocate(&slots[staying++], 16 + next_random() % 240);
        for (size_t index = 0; index < 31; index++)
            release(&passing[index]);
    }
    phase("the passing ones freed");
    release_all();
}

/* Returns a size whose power of two is evenly distributed, so small sizes are the most frequent. */
static size_t random_size(void)
{
    return 1 + next_random() % (1u << (1 + next_random() % 20));
}

static void in_any_order(unsigned long operations)
{
    while (operations_done < operations) {
        struct slot *slot = &slots[next_random() % 1024];
        if (slot->block == NULL && next_random() % 8 == 0)
            allocate_aligned(slot, random_size());
        else if (slot->block == NULL)
            allocate(slot, random_size());
        else if (next_random() % 4 == 0)
            resize(slot, random_size());
        else
            release(slot);
    }
    phase("at the end");
    release_all();
}

static const struct pattern patterns[] = {
    {"every-second", every_second},
    {"growing-realloc", growing_realloc},
    {"long-lived", long_lived},
    {"random", in_any_order},
};

int main(int argc, char **argv)
{
    const unsigned long operations = argc > 2 ? strtoul(argv[2], NULL, 10) : DEFAULT_OPERATIONS;
    if (operations < LEAST_OPERATIONS || operations > MOST_OPERATIONS)
        fail("the number of operations is from 1000 to 100000000");
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    for (size_t index = 0; index < sizeof patterns / sizeof *patterns; index++) {
        if (argc > 1 && strcmp(argv[1], patterns[index].name) == 0) {
            running = patterns[index].name;
            patterns[index].run(operations);
            printf("%s: %lu operations, checksum %08x\n", running, operations_done, (unsigned)checksum);
            return EXIT_SUCCESS;
        }
    }
    fail("name a pattern: every-second, growing-realloc, long-lived or random");
}
