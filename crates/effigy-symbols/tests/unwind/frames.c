/* Stacks of all shapes. The argument says which; each ends in a stop that gdb notices: a signal or `stop_here`. */
#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static volatile int never;
static volatile long sink;

NOINLINE void stop_here(void) { sink++; }

/* No tail call: something is left to do. */
NOINLINE static int deep(int depth, void (*then)(void)) {
    volatile char room[64];
    room[depth % 64] = (char)depth;
    if (depth == 0)
        then();
    else
        sink += deep(depth - 1, then);
    return room[depth % 64];
}

/* Its frame has a size that only the frame pointer knows. */
NOINLINE static int grows(int size, void (*then)(void)) {
    char *room = alloca((size_t)size);
    memset(room, 1, (size_t)size);
    int result = deep(2, then);
    return result + room[size / 2];
}

static int compare(const void *one, const void *other) {
    if (*(const int *)one != *(const int *)other)
        stop_here();
    return 0;
}

/* Through the C library and back. */
NOINLINE static void sorts(void) {
    int numbers[] = {1, 2, 3};
    qsort(numbers, 3, sizeof *numbers, compare);
}

static void handler(int signal) {
    (void)signal;
    sink += grows(100, stop_here);
}

NOINLINE static void raises(void) {
    sink++;
    raise(SIGUSR1);
    sink++;
}

/* On a stack of its own. */
NOINLINE static void signals(void) {
    stack_t other = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    sigaltstack(&other, NULL);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    deep(2, raises);
}

/* A fault in the middle of a function interrupts it. */
NOINLINE static void faults(void) {
    sink++;
    *(volatile int *)(never * 8L) = 1;
    sink++;
}

NOINLINE static void interrupted(void) {
    stack_t other = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    sigaltstack(&other, NULL);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    deep(2, faults);
}

NOINLINE static void calls_nothing(void) {
    void (*volatile nothing)(void) = NULL;
    nothing();
    sink++;
}

/* The call is the last instruction: the return address is another function's. */
NOINLINE static void aborts(void) {
    sink++;
    abort();
}

#if defined(__x86_64__)
/* Nothing describes it, but it keeps a frame pointer. */
void bare(void (*then)(void));
__asm__(".text\n.type bare,@function\nbare:\n push %rbp\n mov %rsp,%rbp\n sub $16,%rsp\n call *%rdi\n leave\n ret\n");
NOINLINE static void undescribed(void) {
    bare(stop_here);
    sink++;
}
#endif

static void *waits(void *ready) {
    pthread_barrier_wait(ready);
    for (;;)
        pause();
    return NULL;
}

NOINLINE static void threads(void) {
    pthread_barrier_t ready;
    pthread_barrier_init(&ready, NULL, 5);
    pthread_t thread;
    for (int i = 0; i < 4; i++)
        pthread_create(&thread, NULL, waits, &ready);
    pthread_barrier_wait(&ready);
    usleep(200000);
    stop_here();
}

int main(int argc, char **argv) {
    const char *shape = argc > 1 ? argv[1] : "";
    if (!strcmp(shape, "deep"))
        deep(20, stop_here);
    else if (!strcmp(shape, "grows"))
        sink += grows(1000, stop_here);
    else if (!strcmp(shape, "sorts"))
        sorts();
    else if (!strcmp(shape, "signals"))
        signals();
    else if (!strcmp(shape, "interrupted"))
        interrupted();
    else if (!strcmp(shape, "nowhere"))
        deep(2, calls_nothing);
    else if (!strcmp(shape, "aborts"))
        deep(2, aborts);
    else if (!strcmp(shape, "threads"))
        threads();
#if defined(__x86_64__)
    else if (!strcmp(shape, "undescribed"))
        deep(2, undescribed);
#endif
    return 0;
}
