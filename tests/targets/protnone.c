/* Pages that hold data though nobody may read them now, and pages that never held any. */
#include "target.h"

int main(void)
{
    begin();
    char *written = map(32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    marker("written", written + 8 * PAGE, 8 * PAGE);
    char *execute_only = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    marker("write_only", execute_only, 4 * PAGE);
    if (mprotect(written, 32 * PAGE, PROT_NONE) || mprotect(execute_only, 4 * PAGE, PROT_WRITE))
        fail("mprotect");
    say("fact never %#lx", (unsigned long)map(256ul << 20, PROT_NONE, MAP_PRIVATE));
    say("thread %d", own_tid());
    ready("pages=44");
    sleep_forever();
}
