/* A terminal that is dumped from inside: at the line `go` it starts PROGRAM WORD... on a pseudo-terminal of its own, with
 * SELF replaced by its own process id, and with the terminal's buffer already full; it begins to read what is written there
 * half a second later. Tells `report status=N` when the program has ended. */
#include "target.h"
#include <pty.h>

static char **program;
static int master;

static NOINLINE void *read_all(void *nothing)
{
    char bytes[4096];
    usleep(500000);
    while (read(master, bytes, sizeof bytes) > 0 || errno == EINTR) {
    }
    return nothing;
}

static void fill_buffer(void)
{
    char bytes[256];
    memset(bytes, 'x', sizeof bytes);
    fcntl(1, F_SETFL, fcntl(1, F_GETFL) | O_NONBLOCK);
    while (write(1, bytes, sizeof bytes) > 0) {
    }
    while (write(1, bytes, 1) > 0) {
    }
    fcntl(1, F_SETFL, fcntl(1, F_GETFL) & ~O_NONBLOCK);
}

static void answer(const char *request)
{
    int status;
    (void)request;
    pid_t child = forkpty(&master, NULL, NULL, NULL);
    if (child < 0)
        fail("forkpty");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fill_buffer();
        execv(program[0], program);
        _exit(97);
    }
    pthread_t reader = start(read_all, NULL, 0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    pthread_join(reader, NULL);
    close(master);
    say("report status=%d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(int count, char **words)
{
    static char self[16];
    begin();
    snprintf(self, sizeof self, "%d", (int)getpid());
    for (int i = 1; i < count; i++)
        if (strcmp(words[i], "SELF") == 0)
            words[i] = self;
    program = words + 1;
    marker("memory", map(48ul << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE), 48ul << 20);
    say("thread %d", own_tid());
    ready("words=%d", count);
    serve(answer);
}
