/* What every target shares: the lines by which it tells the test where its marks are, and the marks themselves.
 *
 * Lines, one fact each, on standard output:
 *   marker NAME ADDRESS LENGTH SEED   pseudo-random bytes (xorshift64 from SEED) that a full dump must hold
 *   mixed  NAME ADDRESS LENGTH SEED   the same with every fourth word zero
 *   linear NAME ADDRESS LENGTH SEED   64-bit words SEED, SEED + 1, ...
 *   absent NAME ADDRESS LENGTH SEED   marker bytes that a dump must not hold
 *   fact   NAME VALUE                 anything else the test wants to know
 *   thread TID                        a thread that sleeps and whose backtrace stands still
 *   busy   TID                        a thread that runs
 *   ready  NAME=VALUE ...             the last line: the target now does what it is for
 */
#ifndef TARGET_H
#define TARGET_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define MAYBE_UNUSED __attribute__((unused))
#define NOINLINE __attribute__((noinline))

static uint64_t base_seed;
static uint64_t marks_made;
static pthread_mutex_t line_lock = PTHREAD_MUTEX_INITIALIZER;

static MAYBE_UNUSED void fail(const char *what)
{
    fprintf(stderr, "target: %s: %s\n", what, strerror(errno));
    printf("failed %s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(99);
}

/* One line to the test; whole, whoever else is speaking. */
static MAYBE_UNUSED void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&line_lock);
    vprintf(format, arguments);
    putchar('\n');
    pthread_mutex_unlock(&line_lock);
    va_end(arguments);
}

static MAYBE_UNUSED void ready(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&line_lock);
    printf("ready pid=%d seed=%" PRIu64 " ", (int)getpid(), base_seed);
    vprintf(format, arguments);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&line_lock);
    va_end(arguments);
}

/* First thing in every main: dies with the test, and has its own seed. */
static MAYBE_UNUSED void begin(void)
{
    struct timespec now;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    clock_gettime(CLOCK_REALTIME, &now);
    base_seed = ((uint64_t)now.tv_nsec << 24) ^ ((uint64_t)now.tv_sec << 7) ^ (uint64_t)getpid();
    base_seed |= 1;
}

static MAYBE_UNUSED uint64_t next_seed(void)
{
    return base_seed + 2 * __atomic_add_fetch(&marks_made, 1, __ATOMIC_RELAXED);
}

static MAYBE_UNUSED uint64_t xorshift(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static MAYBE_UNUSED void fill(void *at, size_t length, uint64_t seed)
{
    uint64_t state = seed, *words = at;
    for (size_t i = 0; i < length / 8; i++)
        words[i] = xorshift(&state);
}

static MAYBE_UNUSED void tell(const char *kind, const char *name, const void *at, size_t length, uint64_t seed)
{
    say("%s %s %#" PRIx64 " %zu %" PRIu64, kind, name, (uint64_t)(uintptr_t)at, length, seed);
}

/* Fills `length` bytes (a multiple of 8) and says so. */
static MAYBE_UNUSED void marker(const char *name, void *at, size_t length)
{
    uint64_t seed = next_seed();
    fill(at, length, seed);
    tell("marker", name, at, length, seed);
}

static MAYBE_UNUSED void absent(const char *name, void *at, size_t length)
{
    uint64_t seed = next_seed();
    fill(at, length, seed);
    tell("absent", name, at, length, seed);
}

static MAYBE_UNUSED pid_t own_tid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static MAYBE_UNUSED void *map(size_t length, int protection, int flags)
{
    void *at = mmap(NULL, length, protection, MAP_ANONYMOUS | flags, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

static MAYBE_UNUSED uint64_t monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static MAYBE_UNUSED NOINLINE void sleep_forever(void)
{
    for (;;)
        pause();
}

/* Starts a thread with a stack of `stack` bytes; 0 leaves the size to the library. */
static MAYBE_UNUSED pthread_t start(void *(*body)(void *), void *argument, size_t stack)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    if (stack)
        pthread_attr_setstacksize(&attributes, stack);
    errno = pthread_create(&thread, &attributes, body, argument);
    if (errno)
        fail("pthread_create");
    pthread_attr_destroy(&attributes);
    return thread;
}

/* The heartbeat: a thread that beats every half millisecond and publishes in a page of a file, which the test reads
 * from outside, the longest time between two beats and when that gap began and ended. Writing 1 to `reset` from
 * outside starts the record anew. A thread that writes memory keeps its own record behind that, on a cache line of its
 * own: pages written so far, and the longest time that one write took, which may be set back to 0 from outside. */
struct writer {
    volatile uint64_t written, longest_write;
};

struct heartbeat {
    volatile uint64_t max_gap, gap_start, gap_end, beats, reset, last;
    _Alignas(64) struct writer writer;
};

static MAYBE_UNUSED NOINLINE void *beat(void *page)
{
    struct heartbeat *heart = page;
    struct timespec half = {0, 500000};
    uint64_t before = monotonic();
    say("busy %d", own_tid());
    prctl(PR_SET_NAME, "heartbeat");
    for (;;) {
        nanosleep(&half, NULL);
        uint64_t now = monotonic();
        if (heart->reset) {
            heart->max_gap = 0;
            heart->reset = 0;
        } else if (now - before > heart->max_gap) {
            heart->gap_start = before;
            heart->gap_end = now;
            heart->max_gap = now - before;
        }
        heart->last = now;
        heart->beats++;
        before = now;
    }
    return page;
}

static MAYBE_UNUSED struct heartbeat *start_heartbeat(const char *path)
{
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, PAGE))
        fail(path);
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED)
        fail("mmap of the heartbeat page");
    close(file);
    start(beat, page, 128 * 1024);
    struct heartbeat *heart = page;
    while (heart->beats < 3)
        usleep(500);
    return heart;
}

/* Answers every line on standard input with one of ours, until end of file. */
static MAYBE_UNUSED NOINLINE void serve(void (*answer)(const char *request))
{
    char line[256];
    for (;;) {
        if (!fgets(line, sizeof line, stdin)) {
            if (feof(stdin))
                sleep_forever();
            clearerr(stdin);
            continue;
        }
        line[strcspn(line, "\n")] = 0;
        answer(line);
        fflush(stdout);
    }
}

#endif
