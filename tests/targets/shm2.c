/* Shared memory written by a forked child only: the parent's pagemap calls it absent, yet it is the parent's too. */
#include "target.h"

int main(void)
{
    begin();
    int told[2];
    char byte = 0;
    char *shared = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    uint64_t seed = next_seed();
    if (pipe(told))
        fail("pipe");
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fill(shared + 16 * PAGE, 2 * PAGE, seed);
        if (write(told[1], &byte, 1) != 1)
            _exit(1);
        sleep_forever();
    }
    if (read(told[0], &byte, 1) != 1)
        fail("read");
    tell("marker", "by_child", shared + 16 * PAGE, 2 * PAGE, seed);
    say("thread %d", own_tid());
    ready("child=%d", (int)child);
    sleep_forever();
}
