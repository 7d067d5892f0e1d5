/* Shared memory that another process writes all the time, beside shared memory that nobody else has: the child counts in
 * the first page of `both`, whose other pages hold a mark. */
#include "target.h"

int main(void)
{
    begin();
    volatile uint64_t *both = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    marker("both", (char *)both + PAGE, 63 * PAGE);
    pid_t child = fork();
    if (child == 0) {
        struct timespec rest = {0, 20000};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;; nanosleep(&rest, NULL))
            both[0]++;
    }
    marker("own", map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), 64 * PAGE);
    say("fact both %#lx", (unsigned long)both);
    say("thread %d", own_tid());
    ready("child=%d", (int)child);
    sleep_forever();
}
