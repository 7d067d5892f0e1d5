/* A program that does what it is told, by lines on standard input; each is answered with "report".
 *   spin N       N threads spin until `rest`            leak MB     a thread that keeps MB more a second, until `rest`
 *   grow MB      keeps so much more memory              threads N   N more threads that sleep
 *   files N      opens N more files                     fault       a thread that faults pages in, until `rest`
 *   beat         a thread named "beat" that wakes every 10 ms, until `rest`
 *   block        a thread that waits for a vfork child, in state D, for 20 seconds
 *   churn        threads that run for a moment and end, one after the other, until `rest`
 *   child PATH   starts a program that is left alone    rest        ends what goes on
 *   exit CODE    ends
 */
#include "target.h"

static volatile int resting;
static volatile int going_on;

static NOINLINE void *spin(void *unused)
{
    while (!resting)
        __asm__ volatile("" ::: "memory");
    __atomic_sub_fetch(&going_on, 1, __ATOMIC_SEQ_CST);
    return unused;
}

static NOINLINE void *leak(void *megabytes)
{
    size_t each = ((size_t)(intptr_t)megabytes << 20) / 20;
    while (!resting) {
        memset(malloc(each), 1, each);
        usleep(50000);
    }
    __atomic_sub_fetch(&going_on, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static NOINLINE void *fault(void *unused)
{
    while (!resting) {
        char *at = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        memset(at, 1, 64 * PAGE);
        munmap(at, 64 * PAGE);
        usleep(1000);
    }
    __atomic_sub_fetch(&going_on, 1, __ATOMIC_SEQ_CST);
    return unused;
}

static NOINLINE void *beat_slowly(void *unused)
{
    prctl(PR_SET_NAME, "beat");
    while (!resting)
        usleep(10000);
    __atomic_sub_fetch(&going_on, 1, __ATOMIC_SEQ_CST);
    return unused;
}

static NOINLINE void *nothing(void *unused)
{
    return unused;
}

static NOINLINE void *churn(void *unused)
{
    while (!resting) {
        pthread_join(start(nothing, NULL, 64 * 1024), NULL);
        usleep(200);
    }
    __atomic_sub_fetch(&going_on, 1, __ATOMIC_SEQ_CST);
    return unused;
}

static NOINLINE void *block(void *unused)
{
    prctl(PR_SET_NAME, "blocked");
    if (vfork() == 0) {
        struct timespec time = {20, 0};
        syscall(SYS_nanosleep, &time, NULL);
        _exit(0);
    }
    return unused;
}

static NOINLINE void *idle(void *unused)
{
    sleep_forever();
    return unused;
}

static void go_on(void *(*body)(void *), long argument)
{
    __atomic_add_fetch(&going_on, 1, __ATOMIC_SEQ_CST);
    start(body, (void *)(intptr_t)argument, 128 * 1024);
}

static void answer(const char *request)
{
    char word[16] = "", rest[200] = "";
    sscanf(request, "%15s %199s", word, rest);
    long number = atol(rest);
    if (!strcmp(word, "spin"))
        for (long i = 0; i < number; i++)
            go_on(spin, 0);
    else if (!strcmp(word, "leak"))
        go_on(leak, number);
    else if (!strcmp(word, "fault"))
        go_on(fault, 0);
    else if (!strcmp(word, "beat"))
        go_on(beat_slowly, 0);
    else if (!strcmp(word, "churn"))
        go_on(churn, 0);
    else if (!strcmp(word, "block"))
        start(block, NULL, 128 * 1024);
    else if (!strcmp(word, "grow"))
        memset(map((size_t)number << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE), 1, (size_t)number << 20);
    else if (!strcmp(word, "threads"))
        for (long i = 0; i < number; i++)
            start(idle, NULL, 64 * 1024);
    else if (!strcmp(word, "files"))
        for (long i = 0; i < number; i++)
            open("/dev/null", O_RDONLY);
    else if (!strcmp(word, "child")) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            execl(rest, rest, "20000", NULL);
            _exit(99);
        }
        say("report child=%d", pid);
        return;
    } else if (!strcmp(word, "rest")) {
        resting = 1;
        while (going_on)
            usleep(1000);
        resting = 0;
    } else if (!strcmp(word, "exit"))
        _exit((int)number);
    say("report done=1");
}

int main(void)
{
    begin();
    ready("pid=%d", (int)getpid());
    serve(answer);
}
