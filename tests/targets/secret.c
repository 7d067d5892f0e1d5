/* Memory of memfd_secret(2), which the kernel shows to nobody else; ordinary memory beside it. */
#include "target.h"

int main(void)
{
    begin();
    int file = (int)syscall(447 /* memfd_secret */, 0);
    if (file < 0 || ftruncate(file, 4 * PAGE)) {
        ready("unsupported=1");
        sleep_forever();
    }
    char *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at == MAP_FAILED) {
        ready("unsupported=1");
        sleep_forever();
    }
    absent("secret", at, 4 * PAGE);
    marker("open", map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), 4 * PAGE);
    say("fact secret %#lx", (unsigned long)at);
    say("thread %d", own_tid());
    ready("file=%d", file);
    sleep_forever();
}
