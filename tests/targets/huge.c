/* Huge pages: hugetlbfs (two pages of 2 MiB, the second never touched) when the system lends some, and transparent. */
#include "target.h"

int main(void)
{
    begin();
    size_t two = 2ul << 20;
    char *huge = mmap(NULL, 2 * two, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    char *shared = mmap(NULL, two, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (huge != MAP_FAILED)
        marker("hugetlb", huge, two);
    if (shared != MAP_FAILED)
        marker("hugetlb_shared", shared, two);
    char *plain = map(4 * two, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    char *aligned = (char *)(((uintptr_t)plain + two - 1) & ~(two - 1));
    madvise(aligned, 2 * two, MADV_HUGEPAGE);
    marker("transparent", aligned, 2 * two);
    say("thread %d", own_tid());
    ready("hugetlb=%d", huge != MAP_FAILED && shared != MAP_FAILED);
    sleep_forever();
}
