/* A vfork parent, in uninterruptible sleep (D) until its child ends; the child sleeps SECONDS (40). A second thread
 * waits beside it. */
#include "target.h"

static volatile int started;

static NOINLINE void *worker(void *nothing)
{
    uint64_t on_stack[64];
    marker("stack", on_stack, sizeof on_stack);
    say("thread %d", own_tid());
    started = 1;
    sleep_forever();
    __asm__ volatile("" : : "r"(on_stack) : "memory");
    return nothing;
}

int main(int count, char **words)
{
    begin();
    unsigned seconds = count > 1 ? (unsigned)atoi(words[1]) : 40;
    marker("heap", malloc(8192), 8192);
    start(worker, NULL, 0);
    while (!started)
        usleep(1000);
    say("fact parent %d", own_tid());
    char line[64];
    snprintf(line, sizeof line, "ready pid=%d child=1\n", (int)getpid());
    fflush(stdout);
    pid_t child = vfork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        usleep(50000);
        if (write(1, line, strlen(line)) < 0)
            _exit(1);
        sleep(seconds);
        _exit(0);
    }
    say("fact woken 1");
    fflush(stdout);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    sleep_forever();
}
