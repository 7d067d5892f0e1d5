/* THREADS idle threads and one that, every few milliseconds, makes the whole process this program anew: execve kills
 * the others and waits until their tracer has taken note. */
#include "target.h"

static char **words;

static void *again(void *nothing)
{
    usleep(3000 + (unsigned)(time(NULL) * 7919 + own_tid() * 104729) % 20000);
    setenv("EFFIGY_TEST_LOOPING", "1", 1);
    execv("/proc/self/exe", words);
    fail("execv");
    return nothing;
}

static void *idle(void *nothing)
{
    for (;;)
        pause();
    return nothing;
}

int main(int count, char **arguments)
{
    words = arguments;
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    begin();
    for (long left = count > 1 ? atol(arguments[1]) : 400; left > 0; left--)
        if (pthread_create(&thread, &small, idle, NULL))
            fail("pthread_create");
    if (!getenv("EFFIGY_TEST_LOOPING"))
        ready("storm=1");
    pthread_create(&thread, NULL, again, NULL);
    for (;;)
        pause();
}
