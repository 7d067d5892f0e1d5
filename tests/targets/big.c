/* A program of given size: resident memory, idle threads, reservations, a thread that dirties pages, a heartbeat.
 *
 *   -m MB    resident private memory, three of four words pseudo-random   -z  linear words instead
 *   -t N     idle threads with 64 KiB stacks                              -T  allow transparent huge pages
 *   -r GB    one PROT_NONE and one NORESERVE mapping of that size, two pages touched in the second
 *   -d N     a thread that dirties N random pages each millisecond        -b FILE  heartbeat page, with the writer's count
 */
#include "target.h"

static uint64_t in_bss[2048];
static uint64_t in_data[64] = {1};
static __thread uint64_t in_tls[32];
static int pipe_ends[2];
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static volatile int started;

struct dirty {
    unsigned char *memory;
    size_t pages;
    long each_millisecond;
    struct writer *record;
    volatile int running;
};

static NOINLINE void wait_one_way(int way)
{
    char byte;
    switch (way) {
    case 0:
        sleep_forever();
        break;
    case 1:
        while (read(pipe_ends[0], &byte, 1) != 0) {
        }
        break;
    case 2:
        pthread_mutex_lock(&gate);
        for (;;)
            pthread_cond_wait(&never, &gate);
        break;
    default:
        for (;;)
            sleep(1000000);
    }
}

static NOINLINE int descend(int depth, int way)
{
    uint64_t on_stack[64];
    if (depth > 0)
        return descend(depth - 1, way) + 1;
    char name[40];
    snprintf(name, sizeof name, "stack.%d", own_tid());
    marker(name, on_stack, sizeof on_stack);
    snprintf(name, sizeof name, "tls.%d", own_tid());
    marker(name, in_tls, sizeof in_tls);
    say("thread %d", own_tid());
    __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
    wait_one_way(way);
    __asm__ volatile("" : : "r"(on_stack) : "memory");
    return depth;
}

static NOINLINE void *idle(void *number)
{
    char name[16];
    snprintf(name, sizeof name, "idle %ld", (long)(intptr_t)number);
    prctl(PR_SET_NAME, name);
    descend((int)((intptr_t)number % 5), (int)((intptr_t)number % 4));
    return NULL;
}

/* Sleeps between its batches and never catches up: whatever makes it wait shows in its rate. */
static NOINLINE void *dirty(void *argument)
{
    struct dirty *work = argument;
    struct writer *record = work->record;
    struct timespec millisecond = {0, 1000000};
    uint64_t state = base_seed;
    say("busy %d", own_tid());
    prctl(PR_SET_NAME, "dirty");
    prctl(PR_SET_TIMERSLACK, 1);
    work->running = 1;
    for (;;) {
        uint64_t before = monotonic();
        for (long i = 0; i < work->each_millisecond; i++) {
            work->memory[xorshift(&state) % work->pages * PAGE + 8]++;
            uint64_t now = monotonic();
            if (now - before > record->longest_write)
                record->longest_write = now - before;
            record->written++;
            before = now;
        }
        nanosleep(&millisecond, NULL);
    }
    return NULL;
}

static uint64_t *fill_resident(size_t bytes, int linear, int huge, int stays)
{
    uint64_t *words = map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    madvise(words, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    uint64_t seed = next_seed(), state = seed;
    for (size_t i = 0; i < bytes / 8; i++) {
        if (linear)
            words[i] = seed + i;
        else
            words[i] = i % 4 == 3 ? 0 : xorshift(&state);
    }
    if (stays)
        tell(linear ? "linear" : "mixed", "resident", words, bytes, seed);
    return words;
}

static void start_writer(uint64_t *words, size_t bytes, long each_millisecond, struct heartbeat *heart)
{
    static struct writer unread;
    static struct dirty work;
    work = (struct dirty){(unsigned char *)words, bytes / PAGE, each_millisecond, heart ? &heart->writer : &unread, 0};
    start(dirty, &work, 128 * 1024);
    /* A thread begins with its signals blocked. */
    while (!work.running)
        usleep(1000);
}

static void reserve(size_t gigabytes)
{
    size_t bytes = gigabytes << 30;
    char *none = map(bytes, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);
    char *some = map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    madvise(some, bytes, MADV_NOHUGEPAGE);
    say("fact reserved %#lx", (unsigned long)none);
    marker("reserve.low", some + 16 * PAGE, PAGE);
    marker("reserve.high", some + bytes - 16 * PAGE, PAGE);
}

int main(int count, char **words)
{
    size_t megabytes = 16, gigabytes = 0;
    long threads = 0, dirtied = 0;
    int linear = 0, huge = 0, option;
    const char *heartbeat = NULL;
    begin();
    while ((option = getopt(count, words, "m:t:r:d:zTb:")) != -1) {
        switch (option) {
        case 'm': megabytes = strtoul(optarg, NULL, 10); break;
        case 't': threads = atol(optarg); break;
        case 'r': gigabytes = strtoul(optarg, NULL, 10); break;
        case 'd': dirtied = atol(optarg); break;
        case 'z': linear = 1; break;
        case 'T': huge = 1; break;
        case 'b': heartbeat = optarg; break;
        default: return 98;
        }
    }
    if (pipe(pipe_ends))
        fail("pipe");
    marker("bss", in_bss, sizeof in_bss);
    marker("data", in_data, sizeof in_data);
    marker("heap", malloc(64 * 1024), 64 * 1024);
    uint64_t *resident = megabytes ? fill_resident(megabytes << 20, linear, huge, !dirtied) : NULL;
    if (gigabytes)
        reserve(gigabytes);
    struct heartbeat *heart = heartbeat ? start_heartbeat(heartbeat) : NULL;
    if (megabytes && dirtied)
        start_writer(resident, megabytes << 20, dirtied, heart);
    for (long i = 0; i < threads; i++)
        start(idle, (void *)(intptr_t)i, 64 * 1024);
    while (started < threads)
        usleep(1000);
    uint64_t on_stack[64];
    marker("stack.main", on_stack, sizeof on_stack);
    marker("tls.main", in_tls, sizeof in_tls);
    say("thread %d", own_tid());
    ready("threads=%ld", threads);
    sleep_forever();
    __asm__ volatile("" : : "r"(on_stack) : "memory");
}
