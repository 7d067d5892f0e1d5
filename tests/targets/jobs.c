/* A shell with one job: WORD... runs in a process group of its own, in the foreground of a terminal of its own. Lines on
 * standard input, each answered with `report`:
 *   type N      types the character N, such as 26 for Ctrl-Z
 *   continue    has the job go on, as `fg` does
 *   look WORD   only tells
 * The report says which process the job is, how often it has stopped and by what, whether it has ended and with what status
 * (as shells say it), and how often WORD was written to the terminal. */
#include "target.h"
#include <pty.h>

static struct {
    volatile pid_t job;
    volatile int stops, signal, ended, status;
} *shared;
static int master;
static char written[1 << 20];
static volatile size_t length;

static NOINLINE void *read_all(void *nothing)
{
    for (;;) {
        ssize_t count = read(master, written + length, sizeof written - length);
        if (count > 0)
            length += (size_t)count;
        else if (errno != EINTR)
            return nothing;
    }
}

static void be_a_shell(char **words)
{
    int status;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTTOU, SIG_IGN);
    pid_t job = fork();
    if (job == 0) {
        setpgid(0, 0);
        tcsetpgrp(0, getpid());
        signal(SIGTTOU, SIG_DFL);
        execv(words[0], words);
        _exit(97);
    }
    setpgid(job, job);
    tcsetpgrp(0, job);
    shared->job = job;
    while (waitpid(job, &status, WUNTRACED) == job) {
        if (WIFSTOPPED(status)) {
            shared->signal = WSTOPSIG(status);
            shared->stops++;
        } else {
            shared->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            shared->ended = 1;
            break;
        }
    }
    pause();
}

static int count_of(const char *word)
{
    int count = 0;
    const char *end = written + length;
    for (const char *at = written; *word && (at = memmem(at, (size_t)(end - at), word, strlen(word))); at++)
        count++;
    return count;
}

static void answer(const char *request)
{
    char word[64] = "", rest[200] = "";
    sscanf(request, "%63s %199s", word, rest);
    if (strcmp(word, "type") == 0) {
        char letter = (char)atoi(rest);
        if (write(master, &letter, 1) != 1)
            fail("typing");
    } else if (strcmp(word, "continue") == 0) {
        kill(-shared->job, SIGCONT);
    }
    say("report job=%d stops=%d signal=%d ended=%d status=%d count=%d", (int)shared->job, shared->stops,
        shared->signal, shared->ended, shared->status, count_of(strcmp(word, "look") ? "" : rest));
}

int main(int count, char **words)
{
    (void)count;
    begin();
    shared = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    pid_t shell = forkpty(&master, NULL, NULL, NULL);
    if (shell < 0)
        fail("forkpty");
    if (shell == 0)
        be_a_shell(words + 1);
    start(read_all, NULL, 0);
    while (!shared->job)
        usleep(1000);
    ready("shell=%d", (int)shell);
    serve(answer);
}
