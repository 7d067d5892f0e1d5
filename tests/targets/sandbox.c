/* A program in a sandbox: no call may be made in it that it could not make itself.
 *
 *   sandbox errno    clone, fork, userfaultfd and the like give EPERM        sandbox kill   they end the process
 *   sandbox strict   all but read, write, exit and sigreturn end the thread (SECCOMP_MODE_STRICT)
 *
 * Any line on standard input is answered with `report rounds=N errno=N`: lines answered, and what userfaultfd gives now, which is
 * tried in `errno` only. */
#include "target.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

static volatile uint64_t spun;

static NOINLINE void *spin(void *nothing)
{
    say("busy %d", own_tid());
    for (;;)
        spun++;
    return nothing;
}

static void install(uint32_t verdict)
{
    static const uint32_t refused[] = {SYS_clone, SYS_clone3, SYS_fork, SYS_vfork, SYS_userfaultfd, SYS_wait4};
    struct sock_filter steps[32];
    unsigned short count = 0;
    steps[count++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        steps[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused[i], 0, 1);
        steps[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict);
    }
    steps[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {count, steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter))
        fail("seccomp");
}

/* Nothing but read and write from here on. */
static void answer_all(int try)
{
    char text[128], byte;
    for (uint64_t rounds = 0;;) {
        if (read(0, &byte, 1) != 1) {
            if (errno == EINTR)
                continue;
            syscall(SYS_exit, 1);
        }
        if (byte != '\n')
            continue;
        int outcome = try && syscall(SYS_userfaultfd, O_CLOEXEC) < 0 ? errno : 0;
        int length = snprintf(text, sizeof text, "report rounds=%" PRIu64 " errno=%d\n", ++rounds, outcome);
        if (write(1, text, (size_t)length) != length)
            syscall(SYS_exit, 1);
    }
}

int main(int count, char **words)
{
    begin();
    const char *how = count > 1 ? words[1] : "";
    marker("heap", malloc(64 * PAGE), 64 * PAGE);
    marker("memory", map(8ul << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE), 8ul << 20);
    if (strcmp(how, "strict") != 0) {
        start(spin, NULL, 0);
        while (!spun)
            usleep(1000);
        install(strcmp(how, "kill") == 0 ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | EPERM);
    }
    say("thread %d", own_tid());
    ready("sandbox=%s", how);
    if (strcmp(how, "strict") == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
        fail("strict mode");
    answer_all(strcmp(how, "errno") == 0);
}
