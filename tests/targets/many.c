/* COUNT raw threads (clone), each on 8 KiB carved from one mapping, so that neither the C library nor the number of
 * mappings is the limit. A thread's mark lies at the top of its stack; it then sleeps for good. */
#include "target.h"
#include <sched.h>

#define STACK (2 * PAGE)

static volatile long alive;

static long raw_pause(void)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_pause) : "rcx", "r11", "memory");
    return result;
}

/* Shares the main thread's TLS, so it may call nothing of the C library. */
static int body(void *nothing)
{
    (void)nothing;
    __atomic_add_fetch(&alive, 1, __ATOMIC_SEQ_CST);
    for (;;)
        raw_pause();
    return 0;
}

int main(int count, char **words)
{
    begin();
    long threads = count > 1 ? atol(words[1]) : 30000;
    char *stacks = map((size_t)threads * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    madvise(stacks, (size_t)threads * STACK, MADV_NOHUGEPAGE);
    for (long i = 0; i < threads; i++) {
        char name[32];
        char *top = stacks + (size_t)(i + 1) * STACK - 64;
        snprintf(name, sizeof name, "stack.%ld", i);
        marker(name, top, 64);
        if (clone(body, top, flags, NULL) < 0)
            fail("clone");
    }
    while (alive < threads)
        usleep(1000);
    ready("threads=%ld", threads);
    sleep_forever();
}
