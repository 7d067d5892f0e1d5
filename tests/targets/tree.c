/* A tree under mutation that is whole at every instant: threads move amounts between its leaves, by building the nodes
 * on the way to both leaves anew and then storing the new root, one word. Nodes that are no longer in the tree are used
 * again, the longest unused first, so that a copy of the root and a copy of the nodes from two moments do not fit together.
 *
 *   -w N   writers (2)      -p NS  sleep so long after each change, in place of going on at full speed
 *
 * `fact tree ROOT:POOL:NODES:LEAVES:TOTAL`: the word at ROOT is the address of the root node; a node is a page of the POOL.
 */
#include "target.h"

#define LEAVES 64u
#define NODES 512u

/* The check covers the other words and the node's address; the version is repeated at the end of the page. */
struct node {
    uint64_t check, version, sum, leaf;
    struct node *left, *right;
    uint64_t unused[PAGE / 8 - 7], again;
};

static struct node *pool;
static struct node *volatile *root;
static struct node *unused[NODES];
static size_t first_unused, unused_count;
static uint64_t version;
static volatile uint64_t changes;
static struct timespec pace;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static struct node *replaced[64];
static size_t replaced_count;

static uint64_t mix(uint64_t state, uint64_t word)
{
    state = (state ^ word) * 0x9e3779b97f4a7c15u;
    return state ^ state >> 29;
}

static struct node *make(uint64_t sum, uint64_t leaf, struct node *left, struct node *right)
{
    struct node *node = unused[first_unused];
    first_unused = (first_unused + 1) % NODES;
    unused_count--;
    node->version = version;
    node->sum = sum;
    node->leaf = leaf;
    node->left = left;
    node->right = right;
    node->again = version;
    uint64_t words[] = {version, sum, leaf, (uint64_t)left, (uint64_t)right, (uint64_t)node};
    uint64_t check = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        check = mix(check, words[i]);
    node->check = check;
    return node;
}

static void recycle(struct node *node)
{
    unused[(first_unused + unused_count) % NODES] = node;
    unused_count++;
}

/* The subtree over the leaves from `low` on, `width` of them, with `amount` moved from one leaf to another. */
static struct node *moved(struct node *node, unsigned low, unsigned width, unsigned from, unsigned to, uint64_t amount)
{
    int takes = from - low < width, gives = to - low < width;
    if (!takes && !gives)
        return node;
    replaced[replaced_count++] = node;
    uint64_t sum = node->sum - (takes ? amount : 0) + (gives ? amount : 0);
    if (width == 1)
        return make(sum, low, NULL, NULL);
    unsigned half = width / 2;
    struct node *left = moved(node->left, low, half, from, to, amount);
    struct node *right = moved(node->right, low + half, half, from, to, amount);
    return make(sum, 0, left, right);
}

static struct node *grow(unsigned low, unsigned width)
{
    if (width == 1)
        return make(1000000, low, NULL, NULL);
    struct node *left = grow(low, width / 2), *right = grow(low + width / 2, width / 2);
    return make(left->sum + right->sum, 0, left, right);
}

static NOINLINE void *change(void *number)
{
    uint64_t state = base_seed + 2 * (uint64_t)number;
    prctl(PR_SET_NAME, "writer");
    say("busy %d", own_tid());
    for (;;) {
        uint64_t random = xorshift(&state);
        pthread_mutex_lock(&turn);
        version++;
        replaced_count = 0;
        struct node *next = moved(*root, 0, LEAVES, random % LEAVES, random / LEAVES % LEAVES, random >> 32 & 0xff);
        __atomic_store_n(root, next, __ATOMIC_RELEASE);
        for (size_t i = 0; i < replaced_count; i++)
            recycle(replaced[i]);
        changes++;
        pthread_mutex_unlock(&turn);
        if (pace.tv_nsec)
            nanosleep(&pace, NULL);
    }
    return NULL;
}

static void answer(const char *request)
{
    (void)request;
    say("report changes=%" PRIu64, changes);
}

static void prepare(void)
{
    uint64_t state = base_seed;
    pool = map(NODES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    madvise(pool, NODES * PAGE, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < NODES; i++) {
        size_t other = xorshift(&state) % (i + 1);
        unused[i] = unused[other];
        unused[other] = &pool[i];
    }
    unused_count = NODES;
    root = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    *root = grow(0, LEAVES);
    say("fact tree %#lx:%#lx:%u:%u:%" PRIu64, (unsigned long)root, (unsigned long)pool, NODES, LEAVES, (*root)->sum);
}

int main(int count, char **words)
{
    unsigned writers = 2;
    int option;
    begin();
    while ((option = getopt(count, words, "w:p:")) != -1) {
        switch (option) {
        case 'w': writers = (unsigned)atoi(optarg); break;
        case 'p': pace.tv_nsec = atol(optarg); break;
        default: return 98;
        }
    }
    marker("quiet", malloc(PAGE), PAGE);
    prepare();
    for (unsigned i = 0; i < writers; i++)
        start(change, (void *)(uintptr_t)(i + 1), 0);
    while (changes < 2 * NODES)
        usleep(1000);
    say("thread %d", own_tid());
    ready("writers=%u", writers);
    serve(answer);
}
