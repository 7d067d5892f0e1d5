/* Turns into the other variant of itself every few milliseconds: PROGRAM OTHER MILLISECONDS. The variant's number lies
 * at the same fixed address in both (the program is linked to a fixed address). `where` prints that address. */
#include "target.h"

volatile uint64_t variant[4] = {0x6566666967790000 + VARIANT, ~(uint64_t)VARIANT, VARIANT, VARIANT};

int main(int count, char **words)
{
    char next[512];
    begin();
    say("fact variant %#lx", (unsigned long)&variant);
    if (count == 2)
        return puts("ready where=1") < 0;
    snprintf(next, sizeof next, "%s", words[1]);
    if (!getenv("EFFIGY_TEST_LOOPING")) {
        ready("variant=%d", VARIANT);
        setenv("EFFIGY_TEST_LOOPING", "1", 1);
    }
    usleep((unsigned)atoi(words[2]) * 1000);
    char *again[] = {next, words[0], words[2], NULL};
    execv(next, again);
    fail(next);
}
