/* Sends PID the signal SIGRTMIN + 1 with running numbers from 1, one each 200 us, waiting while the queue is full.
 * The line `stop` ends it and tells how many were sent. */
#include "target.h"

static volatile int stopped;
static volatile uint64_t sent;
static pid_t to;

static NOINLINE void *send_all(void *nothing)
{
    struct timespec pause_time = {0, 200000};
    while (!stopped) {
        union sigval value = {.sival_int = (int)(sent + 1)};
        if (sigqueue(to, SIGRTMIN + 1, value) == 0)
            sent++;
        else if (errno != EAGAIN)
            break;
        nanosleep(&pause_time, NULL);
    }
    stopped = 2;
    return nothing;
}

static void answer(const char *request)
{
    (void)request;
    if (!stopped)
        stopped = 1;
    while (stopped != 2)
        usleep(1000);
    say("report sent=%" PRIu64, sent);
}

int main(int count, char **words)
{
    begin();
    to = (pid_t)atoi(words[count - 1]);
    start(send_all, NULL, 0);
    ready("to=%d", (int)to);
    serve(answer);
}
