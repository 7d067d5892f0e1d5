/* 512 MiB shared and 512 MiB private, one byte touched in each: whoever reads the rest makes the program grow. */
#include "target.h"

int main(void)
{
    begin();
    size_t bytes = 512ul << 20;
    char *shared = map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
    char *private = map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    madvise(private, bytes, MADV_NOHUGEPAGE);
    madvise(shared, bytes, MADV_NOHUGEPAGE);
    marker("shared", shared + bytes / 2, 64);
    marker("private", private + bytes / 2, 64);
    say("fact shared %#lx", (unsigned long)shared);
    say("thread %d", own_tid());
    ready("bytes=%zu", bytes);
    sleep_forever();
}
