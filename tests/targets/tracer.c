/* Traces the process PID, as a debugger would, until it is killed. */
#include "target.h"
#include <sys/ptrace.h>

int main(int count, char **words)
{
    begin();
    pid_t pid = (pid_t)atoi(words[count - 1]);
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL))
        fail("PTRACE_SEIZE");
    ready("traced=%d", (int)pid);
    sleep_forever();
}
