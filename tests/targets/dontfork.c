/* Memory that a child does not get, or gets empty (MADV_DONTFORK, MADV_WIPEONFORK), with marks that a dump must hold however
 * it is taken; the same with MADV_DONTDUMP, which it must not hold. */
#include "target.h"

#define LENGTH (24 * PAGE)

static void region(const char *name, int excluded, int first, int second)
{
    char *at = map(LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    if (excluded)
        absent(name, at, LENGTH);
    else
        marker(name, at, LENGTH);
    if ((first && madvise(at, LENGTH, first)) || (second && madvise(at, LENGTH, second)))
        fail("madvise");
    say("fact %s %#lx", name, (unsigned long)at);
}

int main(void)
{
    begin();
    region("plain", 0, 0, 0);
    region("dontfork", 0, MADV_DONTFORK, 0);
    region("wipeonfork", 0, MADV_WIPEONFORK, 0);
    region("both", 0, MADV_DONTFORK, MADV_WIPEONFORK);
    region("dontdump", 1, MADV_DONTDUMP, 0);
    region("dontdump_dontfork", 1, MADV_DONTDUMP, MADV_DONTFORK);
    region("dontdump_wipeonfork", 1, MADV_DONTDUMP, MADV_WIPEONFORK);
    char *shared = map(LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED);
    marker("shared_dontfork", shared, LENGTH);
    if (madvise(shared, LENGTH, MADV_DONTFORK))
        fail("madvise");
    say("thread %d", own_tid());
    ready("regions=8");
    sleep_forever();
}
