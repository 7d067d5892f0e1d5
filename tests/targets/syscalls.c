/* Two dozen threads in blocking system calls with known outcomes; LOCKFILE is locked by turns. The line `report` on
 * standard input tells `report NAME=calls/interrupted/wrong/early/late/error ...`. */
#include "calls.h"

static void answer(const char *request)
{
    (void)request;
    pthread_mutex_lock(&line_lock);
    printf("report");
    print_calls();
    putchar('\n');
    pthread_mutex_unlock(&line_lock);
}

int main(int count, char **words)
{
    begin();
    start_calls(words[count - 1], NULL);
    ready("kinds=%zu io_uring=%d mqueue=%d", KINDS, ring >= 0, posix_queue != (mqd_t)-1);
    serve(answer);
}
