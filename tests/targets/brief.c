/* Lives for so many milliseconds (50 when none are given) and ends. */
#include "target.h"

int main(int count, char **words)
{
    uint64_t end = monotonic() + (count > 1 ? strtoull(words[1], NULL, 10) : 50) * 1000000u;
    ready("brief=1");
    while (monotonic() < end)
        usleep(1000);
    return 0;
}
