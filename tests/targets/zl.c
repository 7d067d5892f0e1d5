/* A zombie leader: the main thread ends itself, one worker lives on with a mark on its stack. */
#include "target.h"

static volatile int leader_gone;

static int leader_state(void)
{
    char text[512] = {0};
    int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0)
        fail("/proc/self/stat");
    close(file);
    char *end = strrchr(text, ')');
    return end ? end[2] : 0;
}

static NOINLINE void *worker(void *nothing)
{
    uint64_t on_stack[64];
    while (leader_state() != 'Z')
        usleep(1000);
    marker("stack", on_stack, sizeof on_stack);
    marker("heap", malloc(8192), 8192);
    say("thread %d", own_tid());
    say("fact worker %d", own_tid());
    ready("leader=zombie");
    sleep_forever();
    __asm__ volatile("" : : "r"(on_stack) : "memory");
    return nothing;
}

int main(void)
{
    begin();
    start(worker, NULL, 0);
    leader_gone = 1;
    pthread_exit(NULL);
}
