/* A mebibyte that the program asks not to be dumped (MADV_DONTDUMP), with a hundred marks; and shared memory that it
 * does not mind. */
#include "target.h"

int main(void)
{
    begin();
    char *secret = map(1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "secret.%d", i);
        absent(name, secret + (size_t)i * 10240, 64);
    }
    if (madvise(secret, 1 << 20, MADV_DONTDUMP))
        fail("madvise");
    say("fact secret %#lx", (unsigned long)secret);
    marker("shared", map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), 4 * PAGE);
    say("thread %d", own_tid());
    ready("marks=100");
    sleep_forever();
}
