/* Many mappings: COUNT times 8 KiB whose second page is read-only, so that each gives two; every first page marked. */
#include "target.h"

int main(int count, char **words)
{
    begin();
    long pairs = count > 1 ? atol(words[1]) : 6000;
    char *all = map((size_t)pairs * 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    madvise(all, (size_t)pairs * 2 * PAGE, MADV_NOHUGEPAGE);
    for (long i = 0; i < pairs; i++) {
        char name[32];
        char *page = all + (size_t)i * 2 * PAGE;
        if (mprotect(page + PAGE, PAGE, PROT_READ))
            fail("mprotect");
        snprintf(name, sizeof name, "page.%ld", i);
        marker(name, page, 64);
    }
    say("thread %d", own_tid());
    ready("pairs=%ld", pairs);
    sleep_forever();
}
