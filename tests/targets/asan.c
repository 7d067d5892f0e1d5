/* Built with -fsanitize=address: terabytes of shadow memory reserved, next to nothing of it used. */
#include "target.h"

int main(void)
{
    begin();
    marker("heap", malloc(1 << 20), 1 << 20);
    say("thread %d", own_tid());
    ready("asan=1");
    sleep_forever();
}
