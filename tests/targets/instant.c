/* Counters by which a dump tells whether its memory and its registers are of one instant: each of several threads adds
 * one to every counter of its own sequence, always in the same order, over and over. At any instant the counters of a
 * sequence fall by one somewhere along that order, or nowhere, and the thread's registers say where: r12 is the number
 * that it is writing, r15 the index of the counter that it writes it to; before that it put the number on its stack.
 *
 *   -p NS    sleep so long after each round, in place of going on at full speed
 *   -f FILE  a private mapping of this file too       -H  huge pages of hugetlbfs too
 *   -k NAME  only this sequence                       -m MB  resident memory that stands still
 *   -n COUNT counters in each sequence (64; a power of two)
 *   -s PAGES a sequence "storm" with a counter in each of so many pages (a power of two)
 *
 * `fact sequence.NAME BASE:STRIDE:COUNT:STEP:TID:SLOT`: counter I, in the order of writing, lies at
 * BASE + (I * STEP mod COUNT) * STRIDE + (I * 136 mod 4096), so that whoever copies memory by rising addresses goes another
 * way than the writer; SLOT is the number on the stack. */
#include "target.h"
#include <malloc.h>

#define MOST 64ul

static char in_bss[(MOST + 1) * PAGE];
static char in_data[(MOST + 1) * PAGE] = {1};
static const struct timespec *pace;
static size_t counters = MOST, storm;
static const char *only;

static struct sequence {
    const char *name;
    char *base;
    size_t stride, step, count;
    uint64_t **order;
    volatile uint64_t *last;
} sequences[16];
static int begun;

/* Never ends, and keeps what it knows in the registers that the test looks at. */
static NOINLINE void count_up(uint64_t **order, uint64_t count, uint64_t *slot)
{
    register uint64_t number __asm__("r12") = 0;
    register uint64_t **table __asm__("r13") = order;
    register uint64_t length __asm__("r14") = count;
    register uint64_t index __asm__("r15") = count;
    register const struct timespec *rest __asm__("r8") = pace;
    __asm__ volatile("1: inc %%r12\n"
                     "   mov %%r12, (%%rbx)\n"
                     "   xor %%r15d, %%r15d\n"
                     "2: mov (%%r13, %%r15, 8), %%rax\n"
                     "   mov %%r12, (%%rax)\n"
                     "   inc %%r15\n"
                     "   cmp %%r14, %%r15\n"
                     "   jne 2b\n"
                     "   test %%r8, %%r8\n"
                     "   jz 1b\n"
                     "   mov $35, %%eax\n" /* nanosleep */
                     "   mov %%r8, %%rdi\n"
                     "   xor %%esi, %%esi\n"
                     "   syscall\n"
                     "   jmp 1b\n"
                     : "+r"(number), "+r"(table), "+r"(length), "+r"(index), "+r"(rest)
                     : "b"(slot)
                     : "rax", "rcx", "rdi", "rsi", "r11", "memory", "cc");
}

static NOINLINE void *write_sequence(void *argument)
{
    struct sequence *sequence = argument;
    uint64_t slot = 0;
    size_t count = sequence->count;
    sequence->order = malloc(count * sizeof *sequence->order);
    for (size_t i = 0; i < count; i++) {
        char *page = sequence->base + i * sequence->step % count * sequence->stride;
        sequence->order[i] = (uint64_t *)(page + i * 136 % PAGE);
        *sequence->order[i] = 0;
    }
    prctl(PR_SET_NAME, sequence->name);
    say("busy %d", own_tid());
    say("fact sequence.%s %#lx:%zu:%zu:%zu:%d:%#lx", sequence->name, (unsigned long)sequence->base, sequence->stride,
        count, sequence->step, own_tid(), (unsigned long)&slot);
    sequence->last = sequence->order[count - 1];
    count_up(sequence->order, count, &slot);
    return NULL;
}

static void *next_page(char *at)
{
    return (char *)(((uintptr_t)at + PAGE - 1) & ~(PAGE - 1));
}

/* Its counters are on its own stack. */
static NOINLINE void *write_on_stack(void *argument)
{
    struct sequence *sequence = argument;
    char pages[(MOST + 1) * PAGE];
    memset(pages, 0, sizeof pages);
    sequence->base = next_page(pages);
    return write_sequence(sequence);
}

static void sequence_of(size_t number, const char *name, void *base, size_t stride, size_t step, void *(*body)(void *))
{
    if (only && strcmp(only, name) != 0)
        return;
    sequences[begun] = (struct sequence){name, base, stride, step, number, NULL, NULL};
    start(body, &sequences[begun++], 1ul << 20);
}

static void sequence(const char *name, void *base, size_t stride, size_t step, void *(*body)(void *))
{
    sequence_of(counters, name, base, stride, step, body);
}

static void *aligned(size_t bytes, size_t to)
{
    char *at = map(bytes + to, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    return (char *)(((uintptr_t)at + to - 1) & ~(to - 1));
}

static void in_file(const char *name, int file)
{
    static uint64_t words[MOST * PAGE / 8];
    fill(words, sizeof words, next_seed());
    if (file < 0 || pwrite(file, words, sizeof words, 0) != (ssize_t)sizeof words)
        fail(name);
    void *at = mmap(NULL, sizeof words, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (at == MAP_FAILED)
        fail(name);
    sequence(name, at, PAGE, 23, write_sequence);
}

static void in_huge_pages(int hugetlb)
{
    size_t two = 2ul << 20;
    char *at = aligned(2 * two, two);
    madvise(at, 2 * two, MADV_HUGEPAGE);
    memset(at, 0, 2 * two);
    sequence("transparent", at, 64 * 1024, 29, write_sequence);
    if (!hugetlb)
        return;
    char *huge = mmap(NULL, 2 * two, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    say("fact hugetlb %d", huge != MAP_FAILED);
    if (huge != MAP_FAILED)
        sequence("hugetlb", huge, 64 * 1024, 31, write_sequence);
}

static void start_sequences(const char *file, int hugetlb)
{
    /* A mebibyte apart, in a mapping of 64. */
    char *spread = aligned(64ul << 20, PAGE);
    madvise(spread, 64ul << 20, MADV_NOHUGEPAGE);
    sequence("spread", spread, 1ul << 20, 37, write_sequence);
    sequence("bss", next_page(in_bss), PAGE, 11, write_sequence);
    sequence("data", next_page(in_data), PAGE, 13, write_sequence);
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    sequence("heap", malloc(MOST * 4 * PAGE), 4 * PAGE - 16, 17, write_sequence);
    sequence("stack", NULL, PAGE, 19, write_on_stack);
    sequence("shared", map(MOST * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), PAGE, 21, write_sequence);
    in_file("memfd", memfd_create("private", MFD_CLOEXEC));
    if (file)
        in_file("file", open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    in_huge_pages(hugetlb);
    if (storm)
        sequence_of(storm, "storm", map((storm + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), PAGE, 1, write_sequence);
}

int main(int count, char **words)
{
    static struct timespec rest;
    const char *file = NULL;
    int hugetlb = 0, option;
    size_t megabytes = 0;
    begin();
    while ((option = getopt(count, words, "p:f:Hk:m:n:s:")) != -1) {
        switch (option) {
        case 'p':
            rest.tv_nsec = atol(optarg);
            pace = &rest;
            break;
        case 'f': file = optarg; break;
        case 'H': hugetlb = 1; break;
        case 'k': only = optarg; break;
        case 'm': megabytes = strtoul(optarg, NULL, 10); break;
        case 'n': counters = strtoul(optarg, NULL, 10); break;
        case 's': storm = strtoul(optarg, NULL, 10); break;
        default: return 98;
        }
    }
    if (counters > MOST || (counters & (counters - 1)) || (storm & (storm - 1)))
        fail("-n or -s");
    if (megabytes)
        marker("still", map(megabytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE), megabytes << 20);
    marker("quiet", malloc(PAGE), PAGE);
    start_sequences(file, hugetlb);
    for (int i = 0; i < begun; i++)
        while (!sequences[i].last || *sequences[i].last < 2)
            usleep(1000);
    say("thread %d", own_tid());
    ready("sequences=%d", begun);
    sleep_forever();
}
