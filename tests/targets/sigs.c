/* Counts signals of every sort while it spins: a POSIX timer with SIGRTMIN every 100 us, of which each expiration counts, SIGALRM every millisecond,
 * queued SIGRTMIN + 1 with running numbers (from `sender`), SIGUSR1, SIGCHLD; SIGRTMIN + 2 is blocked and three of it
 * are pending. The line `report` on standard input tells the counts, `unblock` lets the pending ones in. */
#include "target.h"
#include <sys/time.h>

static volatile uint64_t timer_count, alarms, queued, out_of_order, users, children, pending;
static volatile uint64_t expected = 1;
static volatile int unblock;
/* Expirations that were due and not told when the handler looked: the fewest of late. The kernel tells with each signal how
 * many there were until then, so what was told too late is made up for, and what was lost stays lost. */
static volatile int64_t fewest_missing = INT64_MAX;
static uint64_t began;
static timer_t timer;
#define INTERVAL 100000

static void count(int number, siginfo_t *facts, void *context)
{
    (void)context;
    if (number == SIGRTMIN) {
        timer_count += 1 + (uint64_t)facts->si_overrun;
        int64_t missing = (int64_t)((monotonic() - began) / INTERVAL + 1) - (int64_t)timer_count;
        if (missing < fewest_missing)
            fewest_missing = missing;
    } else if (number == SIGRTMIN + 1) {
        queued++;
        if ((uint64_t)facts->si_value.sival_int != expected)
            out_of_order++;
        expected = (uint64_t)facts->si_value.sival_int + 1;
    } else if (number == SIGRTMIN + 2) {
        pending++;
    } else if (number == SIGALRM) {
        alarms++;
    } else if (number == SIGUSR1) {
        users++;
    } else if (number == SIGCHLD) {
        children++;
    }
}

static NOINLINE void *spin(void *nothing)
{
    sigset_t all;
    volatile uint64_t work = 0;
    sigfillset(&all);
    sigdelset(&all, SIGRTMIN);
    sigdelset(&all, SIGRTMIN + 1);
    sigdelset(&all, SIGALRM);
    sigdelset(&all, SIGUSR1);
    sigdelset(&all, SIGCHLD);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    say("busy %d", own_tid());
    for (;;) {
        work++;
        if (unblock) {
            sigdelset(&all, SIGRTMIN + 2);
            pthread_sigmask(SIG_SETMASK, &all, NULL);
        }
    }
    return nothing;
}

static void answer(const char *request)
{
    if (strcmp(request, "unblock") == 0) {
        unblock = 1;
        usleep(200000);
    }
    fewest_missing = INT64_MAX;
    for (int i = 0; i < 20000 && fewest_missing > 0; i++)
        usleep(1000);
    say("report lost=%" PRId64 " timer=%" PRIu64 " alarms=%" PRIu64 " queued=%" PRIu64 " out_of_order=%" PRIu64
        " users=%" PRIu64 " children=%" PRIu64 " pending=%" PRIu64,
        fewest_missing, timer_count, alarms, queued, out_of_order, users, children, pending);
}

int main(void)
{
    begin();
    sigset_t all;
    struct sigaction action = {.sa_sigaction = count, .sa_flags = SA_SIGINFO | SA_RESTART};
    int numbers[] = {SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 2, SIGALRM, SIGUSR1, SIGCHLD};
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    char *memory = map(64ul << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    marker("memory", memory, 64ul << 20);
    for (int i = 0; i < 3; i++) {
        union sigval value = {.sival_int = i};
        if (sigqueue(getpid(), SIGRTMIN + 2, value))
            fail("sigqueue");
    }
    start(spin, NULL, 0);
    usleep(10000);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    struct itimerspec every = {.it_interval = {0, INTERVAL}};
    struct itimerval millisecond = {{0, 1000}, {0, 1000}};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer))
        fail("timer_create");
    /* The first expiration. */
    began = monotonic() + 10000000;
    every.it_value.tv_sec = (time_t)(began / 1000000000u);
    every.it_value.tv_nsec = (long)(began % 1000000000u);
    timer_settime(timer, TIMER_ABSTIME, &every, NULL);
    setitimer(ITIMER_REAL, &millisecond, NULL);
    ready("real_time=%d", SIGRTMIN);
    serve(answer);
}
