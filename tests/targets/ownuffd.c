/* A program with a userfaultfd of its own: it fills missing pages itself, when they are touched, and notes writes to pages that it
 * protects. Pages that are there have marks. `report missing=N written=N wrong=N` answers each line after one more page of each kind
 * was touched: faults that it has seen, and pages found other than they must be. */
#include "target.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#define PAGES 64ul

static int handle;
static char *lazy, *guarded;
static char *content;
static volatile uint64_t missing, written, wrong;
static size_t touched = PAGES / 2, changed;

static void unsupported(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    ready("unsupported=1");
    sleep_forever();
}

static void protect(char *page, size_t pages, uint64_t mode)
{
    struct uffdio_writeprotect range = {{(uintptr_t)page, pages * PAGE}, mode};
    if (ioctl(handle, UFFDIO_WRITEPROTECT, &range))
        fail("UFFDIO_WRITEPROTECT");
}

static NOINLINE void *handle_faults(void *nothing)
{
    struct uffd_msg message;
    say("busy %d", own_tid());
    while (read(handle, &message, sizeof message) == sizeof message) {
        char *page = (char *)(uintptr_t)(message.arg.pagefault.address & ~(PAGE - 1));
        if (message.event != UFFD_EVENT_PAGEFAULT) {
            wrong++;
        } else if (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
            written++;
            protect(page, 1, 0);
        } else {
            struct uffdio_copy copy = {(uintptr_t)page, (uintptr_t)(content + (page - lazy)), PAGE, 0, 0};
            missing++;
            if (ioctl(handle, UFFDIO_COPY, &copy))
                wrong++;
        }
    }
    fail("read of the userfaultfd");
    return nothing;
}

static void watch(char *at, uint64_t mode, const char *what)
{
    struct uffdio_register range = {{(uintptr_t)at, PAGES * PAGE}, mode, 0};
    if (ioctl(handle, UFFDIO_REGISTER, &range))
        unsupported(what);
}

static void answer(const char *request)
{
    (void)request;
    if (touched == PAGES || changed == PAGES)
        fail("no page left");
    size_t at = touched++ * PAGE;
    if (memcmp(lazy + at, content + at, PAGE))
        wrong++;
    ((volatile char *)guarded)[changed++ * PAGE]++;
    say("report missing=%" PRIu64 " written=%" PRIu64 " wrong=%" PRIu64, missing, written, wrong);
}

int main(void)
{
    begin();
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
    handle = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (handle < 0 || ioctl(handle, UFFDIO_API, &api))
        unsupported("userfaultfd");
    content = malloc(PAGES * PAGE);
    fill(content, PAGES * PAGE, next_seed());
    lazy = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    guarded = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    madvise(lazy, PAGES * PAGE, MADV_NOHUGEPAGE);
    madvise(guarded, PAGES * PAGE, MADV_NOHUGEPAGE);
    uint64_t seed = next_seed();
    fill(lazy, PAGES / 2 * PAGE, seed);
    tell("marker", "lazy", lazy, PAGES / 2 * PAGE, seed);
    memset(guarded, 0, PAGES * PAGE);
    seed = next_seed();
    fill(guarded + PAGES / 2 * PAGE, PAGES / 2 * PAGE, seed);
    tell("marker", "guarded", guarded + PAGES / 2 * PAGE, PAGES / 2 * PAGE, seed);
    watch(lazy, UFFDIO_REGISTER_MODE_MISSING, "missing pages");
    watch(guarded, UFFDIO_REGISTER_MODE_WP, "write protection");
    protect(guarded, PAGES, UFFDIO_WRITEPROTECT_MODE_WP);
    start(handle_faults, NULL, 0);
    say("fact lazy %#lx", (unsigned long)lazy);
    say("thread %d", own_tid());
    ready("pages=%lu", PAGES);
    serve(answer);
}
