/* A program that notices children: it counts SIGCHLD, and a thread of its waits for any child at all (__WALL).
 *
 *   -i  ignores SIGCHLD, so that the kernel buries its children by itself
 *   -b  has children of its own, one after the other, and waits until each ends; otherwise it has none and does not block
 *   -m MB  resident memory
 *
 * `report signals=N own=N foreign=N errors=N rounds=N`: SIGCHLD received, children it had, children waited for that were not
 * its own, calls that came out otherwise than they must, calls. */
#include "target.h"

static volatile uint64_t signals, own, foreign, errors, rounds;
static int blocking, ignoring;

static void count(int number)
{
    (void)number;
    signals++;
}

/* Without children: that is what every call says. */
static void wait_in_vain(void)
{
    int status;
    pid_t child = (pid_t)syscall(SYS_wait4, -1, &status, __WALL | WNOHANG, NULL);
    if (child > 0)
        foreign++;
    else if (child < 0 && errno != ECHILD)
        errors++;
    usleep(200);
}

static void wait_for_own(void)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        _exit(7);
    }
    own++;
    pid_t ended = (pid_t)syscall(SYS_wait4, -1, &status, __WALL, NULL);
    if (ignoring ? ended != -1 || errno != ECHILD : ended != child || status != 7 << 8) {
        if (ended > 0 && ended != child)
            foreign++;
        else
            errors++;
    }
}

static NOINLINE void *wait_always(void *nothing)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_NAME, "waiter");
    say("busy %d", own_tid());
    for (;;) {
        blocking ? wait_for_own() : wait_in_vain();
        rounds++;
    }
    return nothing;
}

static void answer(const char *request)
{
    (void)request;
    say("report signals=%" PRIu64 " own=%" PRIu64 " foreign=%" PRIu64 " errors=%" PRIu64 " rounds=%" PRIu64, signals, own,
        foreign, errors, rounds);
}

int main(int count_of_words, char **words)
{
    int option;
    size_t megabytes = 4;
    begin();
    while ((option = getopt(count_of_words, words, "ibm:")) != -1) {
        switch (option) {
        case 'i': ignoring = 1; break;
        case 'b': blocking = 1; break;
        case 'm': megabytes = strtoul(optarg, NULL, 10); break;
        default: return 98;
        }
    }
    struct sigaction action = {.sa_flags = SA_RESTART};
    action.sa_handler = ignoring ? SIG_IGN : count;
    sigaction(SIGCHLD, &action, NULL);
    marker("memory", map(megabytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE), megabytes << 20);
    start(wait_always, NULL, 0);
    while (rounds < 3)
        usleep(1000);
    ready("blocking=%d", blocking);
    serve(answer);
}
