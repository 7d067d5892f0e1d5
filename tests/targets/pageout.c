/* 64 MiB of private memory that the line `out` on standard input sends to swap (MADV_PAGEOUT). */
#include "target.h"

static char *memory;
static const size_t bytes = 64ul << 20;

static void answer(const char *request)
{
    int failed = strcmp(request, "out") == 0 ? madvise(memory, bytes, 21 /* MADV_PAGEOUT */) : -1;
    say("report failed=%d", failed);
}

int main(void)
{
    begin();
    memory = map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    marker("swapped", memory, bytes);
    say("thread %d", own_tid());
    ready("bytes=%zu", bytes);
    serve(answer);
}
