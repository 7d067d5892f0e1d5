/* Two mappings (shared, private) of eight pages of the file PATH, which is then cut to two and a half: the rest of the
 * addresses raise SIGBUS when touched. */
#include "target.h"

int main(int count, char **words)
{
    begin();
    char *full = malloc(8 * PAGE);
    int file = open(words[count - 1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    uint64_t seed = next_seed();
    fill(full, 8 * PAGE, seed);
    if (file < 0 || write(file, full, 8 * PAGE) != 8 * (ssize_t)PAGE)
        fail("write");
    char *shared = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char *private = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (shared == MAP_FAILED || private == MAP_FAILED)
        fail("mmap");
    for (size_t i = 0; i < 8; i++) {
        ((volatile char *)shared)[i * PAGE] = shared[i * PAGE];
        ((volatile char *)private)[i * PAGE] = private[i * PAGE];
    }
    if (ftruncate(file, 2 * PAGE + PAGE / 2))
        fail("ftruncate");
    /* Cutting the file may have taken more out of the page table than was cut off. */
    for (size_t i = 0; i < 3; i++) {
        ((volatile char *)shared)[i * PAGE] = shared[i * PAGE];
        ((volatile char *)private)[i * PAGE] = private[i * PAGE];
    }
    tell("marker", "shared", shared, 2 * PAGE + PAGE / 2, seed);
    tell("marker", "private", private, 2 * PAGE + PAGE / 2, seed);
    say("fact shared %#lx", (unsigned long)shared);
    say("fact private %#lx", (unsigned long)private);
    say("thread %d", own_tid());
    ready("pages=8");
    sleep_forever();
}
