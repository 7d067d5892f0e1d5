/* Things happen to it. The first argument says what:
 *
 *   segv | segv-thread | abort-thread | overflow | overflow-handled    it dies of that, in a function `crash_here`
 *   handle N          handles N faults of its own, as a JVM does, and ends with status 0
 *   exit N            ends with status N from a second thread
 *   threads N         starts N threads one after the other, each of which ends
 *   exec PROGRAM ...  becomes that
 *   exec-thread PROGRAM ...  the same from one of a dozen threads
 *   load              loads and unloads a library
 *   reach N           calls `reached` N times
 *   signals           tells `ready`, counts SIGUSR1, tells `got N` of each, and ends with status N after SIGTERM
 *   interrupts        counts SIGINT and ends, half a second after the first, with status 40 + their number
 *   suspends          on SIGTSTP tells `tidied`, stops, and tells `back` when it goes on, as full-screen programs do
 *   become PROGRAM ...  tells `ready` and becomes that program after SIGUSR1
 *   segv-among N      has N threads that sleep and one that crashes
 *   fork              has a child crash, and ends with the child's signal
 *   hash              tells a hash of its code
 *   quiet N           N threads sleep for a second, and it ends with status 0
 *   wait MODE ...     tells `ready`, waits for a line, and does one of the others
 *   alive N           N threads come and go, call and sleep for ever; answers `report` with what went wrong
 *   family N          the same, with N children that live, too, and have children of their own come and go
 *
 * Unlike other targets it lives on when whoever has started it dies.
 */
#include "target.h"
#include <dlfcn.h>
#include <setjmp.h>

extern char __executable_start, etext;

static sigjmp_buf back;
static volatile sig_atomic_t counted, ended;
static volatile uint64_t beats, born, failures;
static volatile int *volatile nowhere;

NOINLINE void crash_here(void)
{
    *nowhere = 1;
}

NOINLINE void abort_here(void)
{
    abort();
}

NOINLINE int reached(int depth)
{
    __asm__ volatile("" : "+r"(depth));
    return depth + 1;
}

NOINLINE int overflow_here(volatile char *above)
{
    volatile char room[4096];
    room[0] = *above;
    return overflow_here(room) + room[1];
}

static void *crash_in_thread(void *what)
{
    prctl(PR_SET_NAME, "culprit");
    if (what)
        abort_here();
    else
        crash_here();
    return NULL;
}

static void jump_back(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

static void die_properly(int signal)
{
    /* As crash reporters do: put the default back and let it happen again. */
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(signal, &action, NULL);
}

static void count(int signal)
{
    if (signal != SIGTERM)
        counted++;
    if (signal != SIGUSR1)
        ended = 1;
}

static void handle(int signal, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(signal, &action, NULL);
}

static void *just_end(void *nothing)
{
    born++;
    return nothing;
}

static void *sleep_well(void *nothing)
{
    sleep_forever();
    return nothing;
}

static void *exit_from_here(void *status)
{
    exit((int)(intptr_t)status);
}

static void *become(void *words)
{
    execvp(*(char **)words, words);
    return NULL;
}

static uint64_t hash_of_text(void)
{
    uint64_t hash = 14695981039346656037u;
    for (const volatile char *at = &__executable_start; at < &etext; at++)
        hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    return hash;
}

static void *live(void *nothing)
{
    for (;;) {
        struct timespec moment = {0, 1000000};
        if (nanosleep(&moment, NULL) && errno != EINTR)
            failures++;
        if (getppid() < 0 || syscall(SYS_gettid) <= 0)
            failures++;
        raise(SIGWINCH);
        beats++;
    }
    return nothing;
}

static void *make_threads(void *nothing)
{
    for (;;) {
        pthread_join(start(just_end, NULL, 64 * 1024), NULL);
        usleep(2000);
    }
    return nothing;
}

/* What a family has in common. */
static struct {
    volatile uint64_t beats, failures;
} *family;

static void answer(const char *request)
{
    (void)request;
    printf("report beats=%" PRIu64 " born=%" PRIu64 " failures=%" PRIu64 " text=%" PRIu64 " children=%" PRIu64 "\n",
           beats, born, failures + family->failures, hash_of_text(), family->beats);
}

static void live_as_child(void)
{
    signal(SIGWINCH, SIG_IGN);
    for (int number = 0;; number = (number + 1) % 128) {
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(number);
        if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != number)
            __atomic_add_fetch(&family->failures, 1, __ATOMIC_SEQ_CST);
        raise(SIGWINCH);
        usleep(2000);
        __atomic_add_fetch(&family->beats, 1, __ATOMIC_SEQ_CST);
    }
}

static void stay_alive(int threads, int children)
{
    family = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    pid_t parent = getpid();
    for (int i = 0; i < children; i++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == parent)
                live_as_child();
            _exit(96);
        }
    for (int i = 0; i < threads; i++)
        start(live, NULL, 64 * 1024);
    start(make_threads, NULL, 64 * 1024);
    ready("threads=%d", threads);
    serve(answer);
}

static void overflow(int handled)
{
    stack_t other = {.ss_sp = malloc(65536), .ss_size = 65536};
    if (handled) {
        sigaltstack(&other, NULL);
        handle(SIGSEGV, die_properly, SA_ONSTACK);
    }
    char begin = 0;
    overflow_here(&begin);
}

static int of_fork(void)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        crash_here();
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static int for_signals(void)
{
    handle(SIGUSR1, count, SA_RESTART);
    handle(SIGTERM, count, 0);
    ready("");
    for (int told = 0; !ended; usleep(1000)) {
        while (told < counted)
            say("got %d", ++told);
        fflush(stdout);
    }
    return counted;
}

static int for_interrupts(void)
{
    handle(SIGINT, count, SA_RESTART);
    ready("");
    while (!ended)
        usleep(1000);
    usleep(500000);
    return 40 + counted;
}

static volatile sig_atomic_t suspended;

static void suspend(int signal)
{
    (void)signal;
    suspended = 1;
}

static void for_suspension(void)
{
    handle(SIGTSTP, suspend, 0);
    ready("");
    for (;;) {
        usleep(1000);
        if (suspended) {
            suspended = 0;
            say("tidied");
            fflush(stdout);
            /* A moment for whoever believes that it has stopped already. */
            usleep(100000);
            handle(SIGTSTP, SIG_DFL, 0);
            raise(SIGTSTP);
            handle(SIGTSTP, suspend, 0);
            say("back");
            fflush(stdout);
        }
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "wait")) {
        char line[64];
        ready("");
        if (!fgets(line, sizeof line, stdin))
            return 99;
        argc--, argv++;
        what = argc > 1 ? argv[1] : "";
    }
    int number = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(what, "segv"))
        crash_here();
    if (!strcmp(what, "segv-thread"))
        pthread_join(start(crash_in_thread, NULL, 0), NULL);
    if (!strcmp(what, "abort-thread"))
        pthread_join(start(crash_in_thread, main, 0), NULL);
    if (!strcmp(what, "overflow"))
        overflow(0);
    if (!strcmp(what, "overflow-handled"))
        overflow(1);
    if (!strcmp(what, "handle")) {
        handle(SIGSEGV, jump_back, SA_NODEFER);
        for (volatile int i = 0; i < number; i++)
            if (!sigsetjmp(back, 1))
                crash_here();
    }
    if (!strcmp(what, "exit")) {
        start(exit_from_here, (void *)(intptr_t)number, 0);
        sleep_forever();
    }
    if (!strcmp(what, "threads"))
        for (int i = 0; i < number; i++)
            pthread_join(start(just_end, NULL, 0), NULL);
    if (!strcmp(what, "exec"))
        execvp(argv[2], argv + 2);
    if (!strcmp(what, "exec-thread")) {
        for (int i = 0; i < 10; i++)
            start(sleep_well, NULL, 64 * 1024);
        start(become, argv + 2, 0);
        sleep_forever();
    }
    if (!strcmp(what, "load")) {
        void *library = dlopen("libutil.so.1", RTLD_NOW);
        if (!library)
            return 2;
        dlclose(library);
    }
    if (!strcmp(what, "reach"))
        for (int i = 0; i < number; i++)
            reached(i);
    if (!strcmp(what, "signals"))
        return for_signals();
    if (!strcmp(what, "interrupts"))
        return for_interrupts();
    if (!strcmp(what, "suspends"))
        for_suspension();
    if (!strcmp(what, "become")) {
        handle(SIGUSR1, count, 0);
        ready("");
        while (!counted)
            usleep(1000);
        execvp(argv[2], argv + 2);
        return 98;
    }
    if (!strcmp(what, "segv-among")) {
        for (int i = 0; i < number; i++)
            start(sleep_well, NULL, 64 * 1024);
        pthread_join(start(crash_in_thread, NULL, 0), NULL);
    }
    if (!strcmp(what, "fork"))
        return of_fork();
    if (!strcmp(what, "hash"))
        printf("%" PRIu64 "\n", hash_of_text());
    if (!strcmp(what, "quiet")) {
        for (int i = 0; i < number; i++)
            start(sleep_well, NULL, 64 * 1024);
        sleep(1);
    }
    if (!strcmp(what, "alive"))
        stay_alive(number, 0);
    if (!strcmp(what, "family"))
        stay_alive(2, number);
    return 0;
}
