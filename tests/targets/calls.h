/* Two dozen threads, each over and over in one blocking system call with a known outcome: a timeout, or data that a
 * feeder thread sends; a file is locked by turns. They count calls, EINTR, wrong outcomes, and timeouts that came early or
 * very late. */
#ifndef CALLS_H
#define CALLS_H

#include "target.h"
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define WAIT_NS 150000000ull
#define LATE_NS 30000000000ull

struct kind {
    const char *name;
    int (*call)(void); /* 0 as expected, or the errno; -1 for a wrong outcome without one */
    int timed;         /* must take at least WAIT_NS */
    volatile uint64_t calls, interrupted, wrong, early, late;
    volatile int last_error;
};

static const struct timespec wait_time = {0, WAIT_NS};
static int idle_pipe[2], fed_pipe[2], fed_socket[2], idle_socket[2], full_pipe[2], counter, epoll, message_queue, semaphores;
static int ring = -1;
static mqd_t posix_queue;
static uint32_t futex_word;
static sem_t never_posted;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static const char *lock_path;

static int expect(long result, long wanted, int wanted_errno)
{
    if (result == wanted && (wanted >= 0 || errno == wanted_errno))
        return 0;
    return result < 0 && errno ? errno : -1;
}

static struct timespec later(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    at.tv_nsec += (long)WAIT_NS;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

static int in_nanosleep(void) { return expect(nanosleep(&wait_time, NULL), 0, 0); }
static int in_clock_nanosleep(void)
{
    struct timespec at = later(CLOCK_MONOTONIC);
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}
static int in_futex(void)
{
    return expect(syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &wait_time, NULL, 0), -1, ETIMEDOUT);
}
static int in_futex_bitset(void)
{
    struct timespec at = later(CLOCK_MONOTONIC);
    return expect(syscall(SYS_futex, &futex_word, FUTEX_WAIT_BITSET_PRIVATE, 0, &at, NULL, ~0), -1, ETIMEDOUT);
}
static int in_poll(void)
{
    struct pollfd one = {idle_pipe[0], POLLIN, 0};
    return expect(poll(&one, 1, WAIT_NS / 1000000), 0, 0);
}
static int in_ppoll(void)
{
    struct pollfd one = {idle_pipe[0], POLLIN, 0};
    return expect(ppoll(&one, 1, &wait_time, NULL), 0, 0);
}
static int in_select(void)
{
    fd_set set;
    struct timeval time = {0, WAIT_NS / 1000};
    FD_ZERO(&set);
    FD_SET(idle_pipe[0], &set);
    return expect(select(idle_pipe[0] + 1, &set, NULL, NULL, &time), 0, 0);
}
static int in_pselect(void)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(idle_pipe[0], &set);
    return expect(pselect(idle_pipe[0] + 1, &set, NULL, NULL, &wait_time, NULL), 0, 0);
}
static int in_epoll_wait(void)
{
    struct epoll_event event;
    return expect(epoll_wait(epoll, &event, 1, WAIT_NS / 1000000), 0, 0);
}
static int in_epoll_pwait(void)
{
    struct epoll_event event;
    return expect(epoll_pwait(epoll, &event, 1, WAIT_NS / 1000000, NULL), 0, 0);
}
static int in_read_pipe(void)
{
    char byte;
    return expect(read(fed_pipe[0], &byte, 1), 1, 0);
}
static int in_write_pipe(void)
{
    static char block[4096];
    return expect(write(full_pipe[1], block, sizeof block), sizeof block, 0);
}
static int in_read_eventfd(void)
{
    uint64_t value;
    return expect(read(counter, &value, 8), 8, 0);
}
static int in_read_timerfd(void)
{
    uint64_t value;
    struct itimerspec once = {{0, 0}, wait_time};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    timerfd_settime(timer, 0, &once, NULL);
    int outcome = expect(read(timer, &value, 8), 8, 0);
    close(timer);
    return outcome;
}
static int in_recv(void)
{
    char byte;
    return expect(recv(fed_socket[0], &byte, 1, 0), 1, 0);
}
static int in_recv_timeout(void)
{
    char byte;
    return expect(recv(idle_socket[0], &byte, 1, 0), -1, EAGAIN);
}
static int in_semtimedop(void)
{
    struct sembuf take = {0, -1, 0};
    return expect(semtimedop(semaphores, &take, 1, &wait_time), -1, EAGAIN);
}
static int in_msgrcv(void)
{
    struct { long type; char text[8]; } message;
    return expect(msgrcv(message_queue, &message, sizeof message.text, 1, 0), 1, 0);
}
static int in_mq_timedreceive(void)
{
    char text[64];
    struct timespec at = later(CLOCK_REALTIME);
    return expect(mq_timedreceive(posix_queue, text, sizeof text, NULL, &at), -1, ETIMEDOUT);
}
static int in_sigtimedwait(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return expect(sigtimedwait(&set, NULL, &wait_time), -1, EAGAIN);
}
static int in_sem_timedwait(void)
{
    struct timespec at = later(CLOCK_REALTIME);
    return expect(sem_timedwait(&never_posted, &at), -1, ETIMEDOUT);
}
static int in_condition(void)
{
    struct timespec at = later(CLOCK_REALTIME);
    pthread_mutex_lock(&gate);
    int outcome = pthread_cond_timedwait(&never, &gate, &at);
    pthread_mutex_unlock(&gate);
    return outcome == ETIMEDOUT ? 0 : outcome ? outcome : -1;
}
static int in_wait4(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        nanosleep(&wait_time, NULL);
        _exit(7);
    }
    return expect(waitpid(child, &status, 0), child, 0) ?: (WIFEXITED(status) && WEXITSTATUS(status) == 7 ? 0 : -1);
}
static int in_flock(void)
{
    int file = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int outcome = expect(flock(file, LOCK_EX), 0, 0);
    close(file);
    return outcome;
}
static int in_io_uring(void)
{
    struct io_uring_getevents_arg argument = {.ts = (uint64_t)(uintptr_t)&wait_time};
    long result = syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
                          sizeof argument);
    return expect(result, -1, ETIME);
}

static struct kind kinds[] = {
    {"nanosleep", in_nanosleep, 1, 0, 0, 0, 0, 0, 0},
    {"clock_nanosleep", in_clock_nanosleep, 1, 0, 0, 0, 0, 0, 0},
    {"futex", in_futex, 1, 0, 0, 0, 0, 0, 0},
    {"futex_bitset", in_futex_bitset, 1, 0, 0, 0, 0, 0, 0},
    {"poll", in_poll, 1, 0, 0, 0, 0, 0, 0},
    {"ppoll", in_ppoll, 1, 0, 0, 0, 0, 0, 0},
    {"select", in_select, 1, 0, 0, 0, 0, 0, 0},
    {"pselect", in_pselect, 1, 0, 0, 0, 0, 0, 0},
    {"epoll_wait", in_epoll_wait, 1, 0, 0, 0, 0, 0, 0},
    {"epoll_pwait", in_epoll_pwait, 1, 0, 0, 0, 0, 0, 0},
    {"read_pipe", in_read_pipe, 0, 0, 0, 0, 0, 0, 0},
    {"write_pipe", in_write_pipe, 0, 0, 0, 0, 0, 0, 0},
    {"read_eventfd", in_read_eventfd, 0, 0, 0, 0, 0, 0, 0},
    {"read_timerfd", in_read_timerfd, 1, 0, 0, 0, 0, 0, 0},
    {"recv", in_recv, 0, 0, 0, 0, 0, 0, 0},
    {"recv_timeout", in_recv_timeout, 0, 0, 0, 0, 0, 0, 0},
    {"semtimedop", in_semtimedop, 1, 0, 0, 0, 0, 0, 0},
    {"msgrcv", in_msgrcv, 0, 0, 0, 0, 0, 0, 0},
    {"mq_timedreceive", in_mq_timedreceive, 0, 0, 0, 0, 0, 0, 0},
    {"sigtimedwait", in_sigtimedwait, 1, 0, 0, 0, 0, 0, 0},
    {"sem_timedwait", in_sem_timedwait, 0, 0, 0, 0, 0, 0, 0},
    {"condition", in_condition, 0, 0, 0, 0, 0, 0, 0},
    {"wait4", in_wait4, 1, 0, 0, 0, 0, 0, 0},
    {"flock", in_flock, 0, 0, 0, 0, 0, 0, 0},
    {"io_uring", in_io_uring, 1, 0, 0, 0, 0, 0, 0},
};
#define KINDS (sizeof kinds / sizeof *kinds)

static NOINLINE void *repeat(void *argument)
{
    struct kind *kind = argument;
    char name[16];
    snprintf(name, sizeof name, "%s", kind->name);
    prctl(PR_SET_NAME, name);
    for (;;) {
        errno = 0;
        uint64_t before = monotonic();
        int outcome = kind->call();
        uint64_t took = monotonic() - before;
        kind->calls++;
        if (outcome == EINTR) {
            kind->interrupted++;
        } else if (outcome) {
            kind->wrong++;
            kind->last_error = outcome;
        } else if (kind->timed && took + 2000000 < WAIT_NS) {
            kind->early++;
        } else if (took > LATE_NS) {
            kind->late++;
        }
    }
    return NULL;
}

/* Sends a byte, a count, a message or room for one every so often; holds the lock in between. */
static NOINLINE void *feed(void *nothing)
{
    struct { long type; char text[8]; } message = {1, "x"};
    static char block[4096];
    uint64_t one = 1;
    int file = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    prctl(PR_SET_NAME, "feeder");
    for (;;) {
        flock(file, LOCK_EX);
        struct timespec left = wait_time;
        while (nanosleep(&left, &left) && errno == EINTR) {
        }
        flock(file, LOCK_UN);
        if (write(fed_pipe[1], "x", 1) != 1 || write(counter, &one, 8) != 8 || send(fed_socket[1], "x", 1, 0) != 1
            || read(full_pipe[0], block, sizeof block) < 0 || msgsnd(message_queue, &message, 1, 0))
            fail("feeder");
    }
    return nothing;
}

static void prepare(void)
{
    struct timeval time = {0, WAIT_NS / 1000};
    struct io_uring_params parameters = {0};
    struct epoll_event event = {EPOLLIN, {0}};
    char name[64];
    sigset_t set;
    snprintf(name, sizeof name, "/effigy-%d", (int)getpid());
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 64};
    posix_queue = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
    mq_unlink(name);
    if (pipe(idle_pipe) || pipe(fed_pipe) || pipe(full_pipe) || socketpair(AF_UNIX, SOCK_STREAM, 0, fed_socket)
        || socketpair(AF_UNIX, SOCK_STREAM, 0, idle_socket))
        fail("pipes");
    fcntl(full_pipe[1], F_SETPIPE_SZ, 4096);
    setsockopt(idle_socket[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    counter = eventfd(0, EFD_CLOEXEC);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, idle_pipe[0], &event);
    message_queue = msgget(IPC_PRIVATE, 0600);
    semaphores = semget(IPC_PRIVATE, 1, 0600);
    sem_init(&never_posted, 0, 0);
    ring = (int)syscall(SYS_io_uring_setup, 4, &parameters);
}

/* ` NAME=calls/interrupted/wrong/early/late/error` for each kind, behind whatever was printed before. */
static MAYBE_UNUSED void print_calls(void)
{
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].calls)
            printf(" %s=%" PRIu64 "/%" PRIu64 "/%" PRIu64 "/%" PRIu64 "/%" PRIu64 "/%d", kinds[i].name, kinds[i].calls,
                   kinds[i].interrupted, kinds[i].wrong, kinds[i].early, kinds[i].late, kinds[i].last_error);
}

/* Starts a thread for each kind that the system has, except the one of this name. */
static MAYBE_UNUSED void start_calls(const char *path, const char *except)
{
    lock_path = path;
    /* Queues and semaphores of its own, which end with it. */
    if (unshare(CLONE_NEWIPC))
        fail("unshare");
    prepare();
    start(feed, NULL, 0);
    for (size_t i = 0; i < KINDS; i++) {
        int missing = (kinds[i].call == in_io_uring && ring < 0)
                      || (kinds[i].call == in_mq_timedreceive && posix_queue == (mqd_t)-1)
                      || (kinds[i].call == in_semtimedop && semaphores < 0)
                      || (except && strcmp(kinds[i].name, except) == 0);
        if (!missing)
            start(repeat, &kinds[i], 0);
    }
}

#endif
