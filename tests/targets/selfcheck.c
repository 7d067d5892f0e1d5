/* A program that checks itself all the time, so that whatever is done to it from outside shows: hashes over memory with
 * known contents; registers of every kind kept over long loops and over system calls, one of them with nothing but the red zone
 * below its stack pointer; memory that is written anew and read back; kernel writes into its memory; signals, numbered and
 * timed; blocking system calls with known outcomes; threads, mappings, messages that come and go; the clock.
 *
 * selfcheck LOCKFILE BOARD: the file BOARD is a page with the words below, so that a test can look without asking. `report`
 * on standard input tells `report failures=N signals=sent/received/misordered/children timer=N/expected CALL=... ...`. */
#include "calls.h"
#include "registers.h"

#define KNOWN (16ul << 20)
#define REWRITTEN (4ul << 20)
#define LOOPS 2000000ul

static struct board {
    volatile uint64_t failures, workers, spare[14];
    volatile uint64_t rounds[112]; /* of each worker: all of them must rise */
    char first[1024];              /* what went wrong first */
} *board;

static uint64_t after_loops;
static int message_pipe[2], reply_pipe[2];
static volatile uint64_t sent, received, misordered, timer_count, children;
static uint64_t timer_began;
static pthread_t receiver;
static volatile int stop_sending;

static void wrong(const char *worker, const char *what)
{
    if (__atomic_fetch_add(&board->failures, 1, __ATOMIC_SEQ_CST) == 0)
        snprintf(board->first, sizeof board->first, "%s: %s (errno %d, thread %d)", worker, what, errno, own_tid());
}

static size_t enlist(const char *name)
{
    prctl(PR_SET_NAME, name);
    return __atomic_fetch_add(&board->workers, 1, __ATOMIC_SEQ_CST);
}

static void block_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

/* The mask and the other stack of a thread are what it set: a frame that restores a thread restores them too. */
static void check_signal_state(const char *name, const sigset_t *mask, const stack_t *stack)
{
    sigset_t mask_now;
    stack_t stack_now;
    pthread_sigmask(SIG_SETMASK, NULL, &mask_now);
    sigaltstack(NULL, &stack_now);
    if (memcmp(&mask_now, mask, 8))
        wrong(name, "the signal mask is another");
    if (stack_now.ss_flags != stack->ss_flags || stack_now.ss_size != stack->ss_size || stack_now.ss_sp != stack->ss_sp)
        wrong(name, "the signal stack is another");
}

/* `call` 0 for a loop; `stack` NULL for its own. Goes on for ever. */
static void keep_registers(const char *name, uint64_t call, void *stack)
{
    size_t number = enlist(name);
    struct round_area *area = aligned_alloc(64, sizeof *area);
    sigset_t mask;
    stack_t other;
    prepare_area(area, (uint32_t)number);
    area->rest.tv_nsec = 20000000;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigaltstack(NULL, &other);
    for (;;) {
        const char *what = go_round(area, LOOPS, call, stack, call ? 0 : after_loops);
        if (what)
            wrong(name, what);
        check_signal_state(name, &mask, &other);
        board->rounds[number]++;
    }
}

static void *spin(void *nothing)
{
    block_signals();
    keep_registers("spinner", 0, NULL);
    return nothing;
}

static void *doze(void *nothing)
{
    block_signals();
    keep_registers("dozer", SYS_nanosleep, NULL);
    return nothing;
}

/* Its stack pointer is the red zone's 128 bytes above memory that cannot be touched. */
static void *on_the_brink(void *nothing)
{
    char *pages = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    if (mprotect(pages, PAGE, PROT_NONE))
        fail("mprotect");
    block_signals();
    keep_registers("brink", 0, pages + PAGE + 128);
    return nothing;
}

static void count_signal(int number, siginfo_t *facts, void *context)
{
    (void)context;
    if (number == SIGRTMIN) {
        timer_count += 1 + (uint64_t)facts->si_overrun;
    } else if (number == SIGCHLD) {
        children++;
        wrong("receiver", "SIGCHLD");
    } else {
        received++;
        if ((uint64_t)facts->si_value.sival_int != received)
            misordered++;
    }
}

/* All signals come here, on another stack, while the registers are kept. */
static void *receive(void *nothing)
{
    stack_t other = {.ss_size = 128 * 1024, .ss_sp = malloc(128 * 1024)};
    sigset_t mask;
    sigaltstack(&other, NULL);
    sigfillset(&mask);
    sigdelset(&mask, SIGRTMIN);
    sigdelset(&mask, SIGRTMIN + 1);
    sigdelset(&mask, SIGCHLD);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    keep_registers("receiver", 0, NULL);
    return nothing;
}

static void *send_signals(void *nothing)
{
    size_t number = enlist("sender");
    struct timespec rest = {0, 300000};
    block_signals();
    while (!stop_sending) {
        union sigval value = {.sival_int = (int)sent + 1};
        int refused = pthread_sigqueue(receiver, SIGRTMIN + 1, value);
        if (!refused)
            sent++;
        else if (refused != EAGAIN)
            wrong("sender", "pthread_sigqueue");
        nanosleep(&rest, NULL);
        board->rounds[number]++;
    }
    stop_sending = 2;
    return nothing;
}

static uint64_t hash(const uint64_t *words, size_t length)
{
    uint64_t state = 0xcbf29ce484222325;
    for (size_t i = 0; i < length / 8; i++)
        state = (state ^ words[i]) * 0x100000001b3;
    return state;
}

static void *hash_known(void *nothing)
{
    size_t number = enlist("hasher");
    uint64_t *words = map(KNOWN, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    madvise(words, KNOWN, MADV_NOHUGEPAGE);
    marker("known", words, KNOWN);
    uint64_t wanted = hash(words, KNOWN);
    block_signals();
    for (;; board->rounds[number]++) {
        if (hash(words, KNOWN) != wanted)
            wrong("hasher", "memory is other than it was");
        usleep(5000);
    }
    return nothing;
}

/* Writes every word of its memory, then finds there what it wrote: no write is lost, no page is an older one. */
static void *rewrite(void *nothing)
{
    size_t number = enlist("rewriter");
    uint64_t *words = map(REWRITTEN, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    block_signals();
    for (uint64_t turn = 1;; turn++, board->rounds[number]++) {
        for (size_t i = 0; i < REWRITTEN / 8; i += 8)
            words[i] = turn * 0x9e3779b97f4a7c15u + i;
        for (size_t i = 0; i < REWRITTEN / 8; i += 8)
            if (words[i] != turn * 0x9e3779b97f4a7c15u + i) {
                wrong("rewriter", "a write is lost");
                break;
            }
        usleep(3000);
    }
    return nothing;
}

/* The kernel writes into its memory, as read(2) does: a page that only user code may fault in would be EFAULT. */
static void *read_files(void *nothing)
{
    static char content[64 * 1024];
    size_t number = enlist("reader"), room = 64;
    int file = memfd_create("content", MFD_CLOEXEC);
    fill(content, sizeof content, next_seed());
    if (file < 0 || write(file, content, sizeof content) != (ssize_t)sizeof content)
        fail("memfd");
    char *buffers = map(room * sizeof content, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    block_signals();
    for (size_t turn = 0;; turn++, board->rounds[number]++) {
        char *buffer = buffers + turn % room * sizeof content;
        memset(buffer, 0x55, 64);
        if (pread(file, buffer, sizeof content, 0) != (ssize_t)sizeof content)
            wrong("reader", "a read fell short");
        if (memcmp(buffer, content, sizeof content))
            wrong("reader", "a read gave other bytes");
        usleep(500);
    }
    return nothing;
}

static void *echo(void *nothing)
{
    uint64_t number;
    prctl(PR_SET_NAME, "echo");
    block_signals();
    for (;;)
        if (read(message_pipe[0], &number, 8) != 8 || write(reply_pipe[1], &number, 8) != 8)
            wrong("echo", "a message fell short");
    return nothing;
}

static void *exchange(void *nothing)
{
    size_t number = enlist("exchanger");
    block_signals();
    for (uint64_t turn = 1;; turn++, board->rounds[number]++) {
        uint64_t reply = 0;
        if (write(message_pipe[1], &turn, 8) != 8 || read(reply_pipe[0], &reply, 8) != 8 || reply != turn)
            wrong("exchanger", "a reply is not the message");
        if (turn % 16 == 0)
            usleep(500);
    }
    return nothing;
}

static void *map_and_unmap(void *nothing)
{
    size_t number = enlist("mapper");
    block_signals();
    for (uint64_t turn = 1;; turn++, board->rounds[number]++) {
        size_t bytes = 32 * PAGE;
        char *at = map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        fill(at, bytes, turn);
        at = mremap(at, bytes, 2 * bytes, MREMAP_MAYMOVE);
        uint64_t state = turn;
        for (size_t i = 0; at != MAP_FAILED && i < bytes / 8; i++)
            if (((uint64_t *)at)[i] != xorshift(&state)) {
                wrong("mapper", "moved memory is other than it was");
                break;
            }
        if (at == MAP_FAILED || at[bytes] || madvise(at, bytes, MADV_DONTNEED) || at[0] || munmap(at, 2 * bytes))
            wrong("mapper", "mremap, madvise or munmap");
        usleep(500);
    }
    return nothing;
}

static void *short_life(void *number)
{
    return (void *)((uintptr_t)number * 3);
}

static void *breed(void *nothing)
{
    size_t number = enlist("breeder");
    block_signals();
    for (uintptr_t turn = 1;; turn++, board->rounds[number]++) {
        void *result = NULL;
        pthread_join(start(short_life, (void *)turn, 64 * 1024), &result);
        if (result != (void *)(turn * 3))
            wrong("breeder", "a thread had another result");
        usleep(3000);
    }
    return nothing;
}

static void *watch_clock(void *nothing)
{
    size_t number = enlist("clock");
    block_signals();
    for (uint64_t before = monotonic(), now;; before = now, board->rounds[number]++) {
        now = monotonic();
        if (now < before)
            wrong("clock", "it went back");
        if (board->rounds[number] % 1000 == 0)
            usleep(1000);
    }
    return nothing;
}

static void answer(const char *request)
{
    if (strcmp(request, "stop") == 0) {
        stop_sending = stop_sending ? stop_sending : 1;
        while (stop_sending != 2)
            usleep(1000);
        usleep(200000);
    }
    pthread_mutex_lock(&line_lock);
    printf("report failures=%" PRIu64 " sent=%" PRIu64 " received=%" PRIu64 " misordered=%" PRIu64 " children=%" PRIu64
           " timer=%" PRIu64 " timer_expected=%" PRIu64,
           board->failures, sent, received, misordered, children, timer_count, (monotonic() - timer_began) / 1000000);
    print_calls();
    putchar('\n');
    pthread_mutex_unlock(&line_lock);
}

static void *serve_requests(void *nothing)
{
    serve(answer);
    return nothing;
}

static void prepare_signals(void)
{
    struct sigaction action = {.sa_sigaction = count_signal, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    struct itimerspec every = {{0, 1000000}, {0, 1000000}};
    timer_t timer;
    sigfillset(&action.sa_mask);
    sigaction(SIGRTMIN, &action, NULL);
    sigaction(SIGRTMIN + 1, &action, NULL);
    sigaction(SIGCHLD, &action, NULL);
    block_signals();
    receiver = start(receive, NULL, 0);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer))
        fail("timer_create");
    timer_began = monotonic();
    timer_settime(timer, 0, &every, NULL);
}

static void open_board(const char *path)
{
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, PAGE))
        fail(path);
    board = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (board == MAP_FAILED || sizeof *board > PAGE)
        fail("mmap of the board");
    close(file);
}

int main(int count, char **words)
{
    static void *(*const workers[])(void *) = {spin,  doze,     on_the_brink,  hash_known, rewrite,     read_files,
                                               echo,  exchange, map_and_unmap, breed,      watch_clock, send_signals,
                                               serve_requests};
    begin();
    if (count < 3 || pipe(message_pipe) || pipe(reply_pipe))
        fail("arguments");
    open_board(words[2]);
    after_loops = generated(LOOPS);
    say("fact registers %s", choose_round());
    prepare_signals();
    /* wait4 would need children, and there must be none. */
    start_calls(words[1], "wait4");
    for (size_t i = 0; i < sizeof workers / sizeof *workers; i++)
        start(workers[i], NULL, 0);
    while (board->workers < 12)
        usleep(1000);
    for (size_t i = 0; i < board->workers; i++)
        while (!board->rounds[i])
            usleep(1000);
    ready("workers=%" PRIu64, board->workers);
    /* The first thread too, by turns in a loop and in system calls, is one that may be asked to do something else. */
    struct round_area *area = aligned_alloc(64, sizeof *area);
    prepare_area(area, 99);
    area->rest.tv_nsec = 5000000;
    for (size_t number = enlist("leader");; board->rounds[number]++) {
        const char *what = go_round(area, LOOPS, 0, NULL, after_loops);
        if (!what)
            what = go_round(area, 0, SYS_nanosleep, NULL, 0);
        if (what)
            wrong("leader", what);
    }
}
