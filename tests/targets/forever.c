/* Threads that wait without a timeout in calls which the kernel does not start again after a stop. The line `report` on
 * standard input tells how often each was interrupted; `wake` sends every thread a signal that it handles. */
#include "target.h"
#include <sched.h>
#include <sys/epoll.h>
#include <sys/sem.h>

#define KINDS 4

static const char *const names[KINDS] = {"epoll_wait", "epoll_pwait", "semop", "sigwaitinfo"};
static volatile int interrupted[KINDS];
static pthread_t threads[KINDS];
static int epoll, semaphores;

static void handler(int signal) { (void)signal; }

static long wait_forever(int kind)
{
    struct epoll_event event;
    struct sembuf down = {0, -1, 0};
    sigset_t none;
    switch (kind) {
    case 0:
        return epoll_wait(epoll, &event, 1, -1);
    case 1:
        return syscall(SYS_epoll_pwait, epoll, &event, 1, -1, NULL, 8);
    case 2:
        return semop(semaphores, &down, 1);
    default:
        sigemptyset(&none);
        sigaddset(&none, SIGUSR2);
        return sigwaitinfo(&none, NULL);
    }
}

static void *waiter(void *which)
{
    int kind = (int)(long)which;
    for (;;)
        if (wait_forever(kind) < 0 && errno == EINTR)
            interrupted[kind]++;
    return NULL;
}

static void answer(const char *request)
{
    if (strcmp(request, "wake") == 0) {
        for (int i = 0; i < KINDS; i++)
            pthread_kill(threads[i], SIGUSR1);
        usleep(200000);
    }
    say("report %s=%d %s=%d %s=%d %s=%d", names[0], interrupted[0], names[1], interrupted[1], names[2],
        interrupted[2], names[3], interrupted[3]);
}

int main(void)
{
    begin();
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    unshare(CLONE_NEWIPC); /* so that a kill leaves no semaphore behind; fails for all but root */
    epoll = epoll_create1(EPOLL_CLOEXEC);
    semaphores = semget(IPC_PRIVATE, 1, 0600);
    for (long i = 0; i < KINDS; i++)
        pthread_create(&threads[i], NULL, waiter, (void *)i);
    usleep(200000);
    ready("kinds=%d", KINDS);
    serve(answer);
    semctl(semaphores, 0, IPC_RMID);
    return 0;
}
