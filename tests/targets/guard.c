/* A thread on a stack of its own, 512 KiB, with guard pages inside the mapping (MADV_GUARD_INSTALL, as glibc does
 * from 2.42): its first page, and another mapping with one in the middle. Five frames deep, each full of 0x5a. */
#include "target.h"

#define STACK (512 * 1024ul)
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static volatile int started;

static NOINLINE int descend(int depth)
{
    volatile unsigned char fill[1024];
    memset((void *)fill, 0x5a, sizeof fill);
    if (depth > 0)
        return descend(depth - 1) + fill[3];
    uint64_t on_stack[64];
    marker("stack", on_stack, sizeof on_stack);
    say("thread %d", own_tid());
    started = 1;
    while (started)
        pause();
    __asm__ volatile("" : : "r"(on_stack) : "memory");
    return fill[5];
}

static NOINLINE void *body(void *nothing)
{
    descend(5);
    return nothing;
}

int main(void)
{
    begin();
    char *stack = map(STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    char *middle = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    marker("before", middle + 10 * PAGE, 22 * PAGE);
    marker("after", middle + 33 * PAGE, 22 * PAGE);
    if (madvise(stack, PAGE, MADV_GUARD_INSTALL) || madvise(middle + 32 * PAGE, PAGE, MADV_GUARD_INSTALL)) {
        say("unsupported MADV_GUARD_INSTALL");
        ready("unsupported=1");
        sleep_forever();
    }
    say("fact guard %#lx", (unsigned long)middle + 32 * PAGE);
    say("fact stack_guard %#lx", (unsigned long)stack);
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK);
    errno = pthread_create(&thread, &attributes, body, NULL);
    if (errno)
        fail("pthread_create");
    while (!started)
        usleep(1000);
    say("thread %d", own_tid());
    ready("depth=5");
    sleep_forever();
}
