/* A memfd of 1 GiB and a little, almost all of it hole: data at its start and at 1 GiB, mapped shared. A sparse file
 * on disk likewise when a PATH is given; its two data pages are touched, as pages of files count when they are mapped in. */
#include "target.h"

static void map_with_hole(int file, const char *low, const char *high, int touched)
{
    size_t far = 1ul << 30, bytes = far + 16 * PAGE;
    if (file < 0 || ftruncate(file, (off_t)bytes))
        fail("ftruncate");
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    uint64_t words[512], seed = next_seed();
    fill(words, sizeof words, seed);
    if (pwrite(file, words, sizeof words, 0) < 0)
        fail("pwrite");
    tell("marker", low, at, sizeof words, seed);
    seed = next_seed();
    fill(words, sizeof words, seed);
    if (pwrite(file, words, sizeof words, (off_t)far) < 0)
        fail("pwrite");
    tell("marker", high, at + far, sizeof words, seed);
    if (touched)
        say("fact touched %d", ((volatile char *)at)[0] + ((volatile char *)at)[far]);
}

int main(int count, char **words)
{
    begin();
    map_with_hole(memfd_create("with holes", MFD_CLOEXEC), "memfd.low", "memfd.high", 0);
    if (count > 1)
        map_with_hole(open(words[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600), "file.low", "file.high", 1);
    say("thread %d", own_tid());
    ready("hole=1");
    sleep_forever();
}
