/* Memory of which it is known how much is where: a private mapping of the file FILE with eight pages, all of them read and
 * three written to; sixteen pages without a file, locked; four pages of a memfd that are mapped twice. */
#include "target.h"

int main(int count, char **words)
{
    begin();
    int file = open(words[count > 1], O_RDONLY | O_CLOEXEC);
    volatile char *copied = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (file < 0 || copied == MAP_FAILED)
        fail("mmap of the file");
    for (int page = 0; page < 8; page++)
        say("fact read%d %d", page, copied[page * PAGE]);
    for (int page = 0; page < 3; page++)
        copied[page * PAGE] = 'w';
    char *locked = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(locked, 1, 16 * PAGE);
    say("fact is_locked %d", mlock(locked, 16 * PAGE) == 0);
    int shared = memfd_create("twice", MFD_CLOEXEC);
    if (shared < 0 || ftruncate(shared, 4 * PAGE))
        fail("memfd");
    for (int time = 0; time < 2; time++) {
        char *mapped = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
        if (mapped == MAP_FAILED)
            fail("mmap of the memfd");
        memset(mapped, 2, 4 * PAGE);
        say("fact shared%d %lu", time, (unsigned long)mapped);
    }
    say("fact copied %lu", (unsigned long)copied);
    say("fact locked %lu", (unsigned long)locked);
    say("thread %d", own_tid());
    ready("sets=1");
    sleep_forever();
}
