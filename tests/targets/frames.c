/* Threads at places that are hard to unwind from: deep in a recursion, in a signal handler on another stack, in a callback of
 * the C library, in code that was inlined, in a function that never returns, in a loop without a call.
 *
 * Built with and without frame pointers, static, stripped. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static pthread_barrier_t ready;
static volatile int spin = 1;
static volatile uint64_t turns;

__attribute__((noinline)) static void wait_here(void)
{
    pthread_barrier_wait(&ready);
    for (;;)
        pause();
}

__attribute__((noinline)) static int recurse(int depth)
{
    char room[256];
    memset(room, depth, sizeof room);
    if (depth == 0)
        wait_here();
    else
        recurse(depth - 1);
    return room[depth & 255] + 1;
}

static void *deep(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "deep");
    recurse(60);
    return NULL;
}

static void on_signal(int number)
{
    (void)number;
    wait_here();
}

__attribute__((noinline)) static void raise_it(void)
{
    raise(SIGUSR1);
    turns++;
}

static void *in_handler(void *unused)
{
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    (void)unused;
    prctl(PR_SET_NAME, "handler");
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise_it();
    return NULL;
}

static int compare(const void *a, const void *b)
{
    wait_here();
    return *(const int *)a - *(const int *)b;
}

static void *in_callback(void *unused)
{
    int numbers[8] = {3, 1, 2, 8, 7, 6, 5, 4};
    (void)unused;
    prctl(PR_SET_NAME, "callback");
    qsort(numbers, 8, sizeof numbers[0], compare);
    turns += numbers[0];
    return NULL;
}

static inline __attribute__((always_inline)) void inner_inline(int depth)
{
    if (depth > 0)
        wait_here();
    turns++;
}

static inline __attribute__((always_inline)) void outer_inline(int depth)
{
    inner_inline(depth + 1);
    turns++;
}

static void *inlined(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "inlined");
    outer_inline(1);
    return NULL;
}

__attribute__((noinline, noreturn)) static void never_returns(void)
{
    wait_here();
    abort();
}

static void *no_return(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "noreturn");
    never_returns();
}

__attribute__((noinline)) static uint64_t loops(uint64_t value)
{
    pthread_barrier_wait(&ready);
    while (spin)
        value = value * 6364136223846793005u + 1442695040888963407u;
    return value;
}

static void *busy(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "busy");
    turns += loops(1);
    return NULL;
}

int main(void)
{
    void *(*const threads[])(void *) = {deep, in_handler, in_callback, inlined, no_return, busy};
    const int count = sizeof threads / sizeof threads[0];
    pthread_t thread;
    pthread_barrier_init(&ready, NULL, count + 1);
    for (int index = 0; index < count; index++)
        pthread_create(&thread, NULL, threads[index], NULL);
    pthread_barrier_wait(&ready);
    usleep(100000);
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
