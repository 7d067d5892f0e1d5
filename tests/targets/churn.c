/* Threads born and dying a thousand times a second, and a pair of counters that shows whether anything ran while
 * memory was read: every thread writes n to its slot in the low page, then n to its slot in the high page. At one
 * instant low is high or high + 1; a reader that goes from low to high past a running thread finds high > low. */
#include "target.h"

#define SLOTS 256

static volatile uint64_t *low, *high;
static volatile uint64_t born;

static NOINLINE void *live(void *slot_number)
{
    size_t slot = (size_t)slot_number;
    uint64_t end = monotonic() + 4000000;
    uint64_t n = low[slot];
    while (monotonic() < end) {
        for (int i = 0; i < 1000; i++) {
            n++;
            low[slot] = n;
            __asm__ volatile("" ::: "memory");
            high[slot] = n;
        }
        usleep(200);
    }
    return NULL;
}

static NOINLINE void *spin(void *slot_number)
{
    size_t slot = (size_t)slot_number;
    uint64_t n = 0;
    say("busy %d", own_tid());
    for (;;) {
        n++;
        low[slot] = n;
        __asm__ volatile("" ::: "memory");
        high[slot] = n;
    }
    return NULL;
}

static NOINLINE void *breed(void *nothing)
{
    static pthread_t threads[64];
    struct timespec millisecond = {0, 900000};
    for (uint64_t i = 0;; i++) {
        if (i >= 64)
            pthread_join(threads[i % 64], NULL);
        threads[i % 64] = start(live, (void *)(uintptr_t)(1 + i % (SLOTS - 1)), 64 * 1024);
        born++;
        nanosleep(&millisecond, NULL);
    }
    return nothing;
}

static void answer(const char *request)
{
    (void)request;
    say("report born=%" PRIu64, born);
}

int main(void)
{
    begin();
    /* One page at either end of 64 MiB of data, which takes a while to read. */
    size_t bytes = 64ul << 20;
    char *all = map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    madvise(all, bytes, MADV_NOHUGEPAGE);
    low = (uint64_t *)all;
    high = (uint64_t *)(all + bytes - PAGE);
    marker("between", all + PAGE, bytes - 2 * PAGE);
    say("fact low %#lx", (unsigned long)low);
    say("fact high %#lx", (unsigned long)high);
    start(spin, (void *)0, 0);
    start(breed, NULL, 0);
    while (born < 100)
        usleep(1000);
    say("thread %d", own_tid());
    ready("slots=%d", SLOTS);
    serve(answer);
}
