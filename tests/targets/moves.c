/* Memory that comes, goes and moves all the time, one thread for each way: mapped and unmapped, mapped over, moved, grown
 * and shrunk, discarded, protected, taken from and given back to the heap, made huge and split, forked. Each keeps a slot
 * that says what its memory holds at this instant:
 *
 *   `fact slot.NAME ADDRESS`: words at ADDRESS
 *     state   0 changing now, nothing is promised; 1 full; 2 empty
 *     address, length   where
 *     seed    full memory holds xorshift64 from it; empty memory reads as zeros, or is not there
 *     gone, gone_length   where memory was that is no more; 0 if nothing is promised
 *
 * Every thread has its own part of the address space, so that nothing else takes a place that one has left.
 * `report bad=N NAME=ROUNDS ...`: `bad` counts memory that was found other than it was left, and children of fork that saw
 * other memory than their parent. -k NAME: only this way. -c: without children. */
#include "target.h"

#define PAGES 16ul
#define LENGTH (PAGES * PAGE)
#define TWO_MIB (2ul << 20)
#define PART (1ul << 30)
#define PARTS 0x200000000000ul
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { CHANGING, FULL, EMPTY };

struct slot {
    volatile uint64_t state, address, length, seed, gone, gone_length;
    volatile uint64_t rounds;
    const char *name;
    char *part; /* the beginning of its part of the address space */
    uint64_t random;
} __attribute__((aligned(4096)));

static struct slot slots[16];
static int ways;
static volatile uint64_t bad;

static void store(struct slot *slot, int state)
{
    __atomic_store_n(&slot->state, (uint64_t)state, __ATOMIC_SEQ_CST);
}

static int holds(const void *at, size_t length, uint64_t seed)
{
    const uint64_t *words = at;
    for (size_t i = 0; i < length / 8; i++)
        if (words[i] != xorshift(&seed))
            return 0;
    return 1;
}

static int is_zero(const void *at, size_t length)
{
    const uint64_t *words = at;
    for (size_t i = 0; i < length / 8; i++)
        if (words[i])
            return 0;
    return 1;
}

static void *place(char *at, size_t length)
{
    void *got = mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != at)
        fail("mmap");
    madvise(at, length, MADV_NOHUGEPAGE);
    return at;
}

/* Fills the memory and says so. */
static void full(struct slot *slot, void *at, size_t length)
{
    slot->seed = (base_seed ^ slot->rounds * 0x9e3779b97f4a7c15u ^ (uintptr_t)slot) | 1;
    slot->address = (uintptr_t)at;
    slot->length = length;
    fill(at, length, slot->seed);
    store(slot, FULL);
}

/* Stays as it is for a while, then looks whether it did, and says that it will change. */
static void stay(struct slot *slot)
{
    uint64_t random = xorshift(&slot->random);
    struct timespec time = {0, (long)(random % 300000)};
    if (random >> 60 < 12)
        nanosleep(&time, NULL);
    const void *at = (const void *)slot->address;
    if (slot->state == FULL ? !holds(at, slot->length, slot->seed) : !is_zero(at, slot->length))
        bad++;
    store(slot, CHANGING);
    slot->gone = 0;
    slot->rounds++;
}

static void left(struct slot *slot, void *at, size_t length)
{
    slot->gone_length = length;
    slot->gone = (uintptr_t)at;
}

static void map_and_unmap(struct slot *slot)
{
    for (;;) {
        char *at = slot->part + slot->rounds % 64 * 4 * LENGTH;
        full(slot, place(at, LENGTH), LENGTH);
        stay(slot);
        munmap(at, LENGTH);
        left(slot, at, LENGTH);
    }
}

static void map_over(struct slot *slot)
{
    for (;;) {
        void *at = mmap(slot->part, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (at != slot->part)
            fail("mmap");
        slot->address = (uintptr_t)at;
        slot->length = LENGTH;
        store(slot, EMPTY);
        stay(slot);
        full(slot, at, LENGTH);
        stay(slot);
    }
}

static void move(struct slot *slot)
{
    char *at = place(slot->part, LENGTH);
    full(slot, at, LENGTH);
    for (;;) {
        stay(slot);
        char *next = slot->part + slot->rounds % 16 * 4 * LENGTH;
        if (next == at)
            next += 2 * LENGTH;
        if (mremap(at, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, next) != next)
            fail("mremap");
        left(slot, at, LENGTH);
        at = next;
        slot->address = (uintptr_t)at;
        if (slot->rounds % 4 == 0)
            full(slot, at, LENGTH);
        else
            store(slot, FULL); /* what moved is what was there */
    }
}

static void grow_and_shrink(struct slot *slot)
{
    char *at = place(slot->part, LENGTH);
    for (;;) {
        full(slot, at, LENGTH);
        stay(slot);
        if (mremap(at, LENGTH, 4 * LENGTH, 0) != at)
            fail("mremap");
        full(slot, at, 4 * LENGTH);
        stay(slot);
        if (mremap(at, 4 * LENGTH, LENGTH, 0) != at)
            fail("mremap");
        left(slot, at + LENGTH, 3 * LENGTH);
    }
}

static void discard(struct slot *slot)
{
    char *at = place(slot->part, LENGTH);
    for (;;) {
        full(slot, at, LENGTH);
        stay(slot);
        if (madvise(at, LENGTH, MADV_DONTNEED))
            fail("MADV_DONTNEED");
        slot->address = (uintptr_t)at;
        slot->length = LENGTH;
        store(slot, EMPTY);
        /* Looking whether it is empty brings in pages of zeros, which is another state than that of pages not there. */
        stay(slot);
    }
}

/* The memory holds what it held whatever its protection; it is written only now and then. */
static void protect(struct slot *slot)
{
    char *at = place(slot->part, LENGTH);
    full(slot, at, LENGTH);
    for (;;) {
        size_t first = xorshift(&slot->random) % PAGES, count = 1 + xorshift(&slot->random) % (PAGES - first);
        int rights = xorshift(&slot->random) % 2 ? PROT_NONE : PROT_READ;
        if (mprotect(at + first * PAGE, count * PAGE, rights) || mprotect(at, LENGTH, PROT_READ | PROT_WRITE))
            fail("mprotect");
        if (xorshift(&slot->random) % 8 == 0) {
            stay(slot);
            full(slot, at, LENGTH);
        }
    }
}

static void give_back(struct slot *slot)
{
    for (;;) {
        slot->gone = 0;
        char *at = sbrk((intptr_t)LENGTH);
        if (at == (void *)-1)
            fail("sbrk");
        full(slot, at, LENGTH);
        stay(slot);
        sbrk(-(intptr_t)LENGTH);
        left(slot, at, LENGTH);
    }
}

static void make_huge(struct slot *slot)
{
    char *at = place(slot->part, TWO_MIB);
    madvise(at, TWO_MIB, MADV_HUGEPAGE);
    full(slot, at, TWO_MIB);
    for (;;) {
        madvise(at, TWO_MIB, MADV_COLLAPSE);
        stay(slot);
        store(slot, FULL);
        /* Splits the mapping, and with it the huge page. */
        mprotect(at + 3 * PAGE, PAGE, PROT_READ);
        mprotect(at + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE);
        usleep(1000);
        if (slot->rounds % 4 == 0) {
            store(slot, CHANGING);
            if (madvise(at, TWO_MIB, MADV_DONTNEED))
                fail("MADV_DONTNEED");
            full(slot, at, TWO_MIB);
        }
    }
}

static void fork_again(struct slot *slot)
{
    char *at = place(slot->part, LENGTH);
    for (;;) {
        int status = 0;
        full(slot, at, LENGTH);
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            /* Some live longer than what was done to their parent when they came. */
            if (slot->rounds % 8 == 0)
                usleep(50000);
            if (!holds(at, LENGTH, slot->seed))
                _exit(1);
            fill(at, LENGTH, 1); /* for itself alone */
            _exit(holds(at, LENGTH, 1) ? 0 : 2);
        }
        while (waitpid(child, &status, 0) < 0)
            if (errno != EINTR)
                fail("waitpid");
        if (status)
            bad++;
        stay(slot);
    }
}

static NOINLINE void *run(void *argument)
{
    struct slot *slot = argument;
    static const struct {
        const char *name;
        void (*body)(struct slot *);
    } bodies[] = {
        {"unmap", map_and_unmap}, {"over", map_over}, {"move", move}, {"grow", grow_and_shrink}, {"discard", discard},
        {"protect", protect}, {"heap", give_back}, {"huge", make_huge}, {"fork", fork_again},
    };
    prctl(PR_SET_NAME, slot->name);
    say("busy %d", own_tid());
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        if (strcmp(bodies[i].name, slot->name) == 0)
            bodies[i].body(slot);
    fail(slot->name);
    return NULL;
}

static void answer(const char *request)
{
    (void)request;
    pthread_mutex_lock(&line_lock);
    printf("report bad=%" PRIu64, bad);
    for (int i = 0; i < ways; i++)
        printf(" %s=%" PRIu64, slots[i].name, slots[i].rounds);
    putchar('\n');
    pthread_mutex_unlock(&line_lock);
}

int main(int count, char **words)
{
    static const char *const names[] = {"unmap", "over", "move", "grow", "discard", "protect", "heap", "huge", "fork"};
    const char *only = NULL;
    int option, childless = 0;
    begin();
    while ((option = getopt(count, words, "k:c")) != -1) {
        switch (option) {
        case 'k': only = optarg; break;
        case 'c': childless = 1; break;
        default: return 98;
        }
    }
    marker("quiet", malloc(PAGE), PAGE);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((only && strcmp(only, names[i])) || (childless && strcmp("fork", names[i]) == 0))
            continue;
        slots[ways].name = names[i];
        slots[ways].part = (char *)PARTS + (size_t)ways * PART;
        slots[ways].random = base_seed + 2 * i;
        say("fact slot.%s %#lx", names[i], (unsigned long)&slots[ways]);
        ways++;
    }
    for (int i = 0; i < ways; i++)
        start(run, &slots[i], 0);
    for (int i = 0; i < ways; i++)
        while (slots[i].rounds < 3)
            usleep(1000);
    say("thread %d", own_tid());
    ready("ways=%d", ways);
    serve(answer);
}
