/* Maps a file of a file system (FUSE) that gives the first page of it and never answers for the others. The server is a
 * child; the file system is mounted at DIR, in a mount namespace of the target's own, which ends with it. */
#include "target.h"
#include <linux/fuse.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define PAGES 16
static uint64_t first_page[512];
static int device;

static void reply(uint64_t unique, int error, const void *body, size_t length)
{
    static char out[8192];
    struct fuse_out_header header = {(uint32_t)(sizeof header + length), error, unique};
    memcpy(out, &header, sizeof header);
    if (length)
        memcpy(out + sizeof header, body, length);
    if (write(device, out, sizeof header + length) < 0 && errno != ENOENT)
        _exit(3);
}

static struct fuse_attr facts_of(uint64_t node)
{
    struct fuse_attr facts = {.ino = node, .nlink = 1, .blksize = 4096};
    facts.mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0644;
    facts.size = node == 1 ? 0 : PAGES * PAGE;
    facts.blocks = facts.size / 512;
    return facts;
}

static void answer_one(const struct fuse_in_header *in, const void *body)
{
    switch (in->opcode) {
    case FUSE_INIT: {
        const struct fuse_init_in *asked = body;
        struct fuse_init_out out = {.major = 7, .minor = 31, .max_write = 4096, .max_background = 8};
        out.max_readahead = 0;
        out.flags = asked->flags & FUSE_ASYNC_READ;
        reply(in->unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_LOOKUP: {
        struct fuse_entry_out out = {.nodeid = 2, .entry_valid = 1000, .attr_valid = 1000, .attr = facts_of(2)};
        reply(in->unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out out = {.attr_valid = 1000, .attr = facts_of(in->nodeid)};
        reply(in->unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_OPEN: {
        struct fuse_open_out out = {.open_flags = FOPEN_KEEP_CACHE};
        reply(in->unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_READ:
        if (((const struct fuse_read_in *)body)->offset == 0)
            reply(in->unique, 0, first_page, sizeof first_page);
        break; /* silence for the rest */
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    default:
        reply(in->unique, -ENOSYS, NULL, 0);
    }
}

static void serve_files(void)
{
    static char in[256 * 1024] __attribute__((aligned(8)));
    for (;;) {
        ssize_t length = read(device, in, sizeof in);
        if (length < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
            continue;
        if (length < (ssize_t)sizeof(struct fuse_in_header))
            _exit(2);
        answer_one((struct fuse_in_header *)in, in + sizeof(struct fuse_in_header));
    }
}

static void unsupported(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    ready("unsupported=1");
    sleep_forever();
}

int main(int count, char **words)
{
    char text[512];
    begin();
    uint64_t seed = next_seed();
    fill(first_page, sizeof first_page, seed);
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        unsupported("/dev/fuse");
    snprintf(text, sizeof text, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
    if (mount("silent", words[count - 1], "fuse", MS_NOSUID | MS_NODEV, text))
        unsupported("mount");
    pid_t server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve_files();
    }
    close(device);
    snprintf(text, sizeof text, "%s/file", words[count - 1]);
    int file = open(text, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        fail(text);
    char *shared = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, file, 0);
    char *private = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (shared == MAP_FAILED || private == MAP_FAILED)
        fail("mmap");
    if (memcmp(shared, first_page, PAGE) || memcmp(private, first_page, PAGE))
        fail("first page");
    marker("heap", malloc(8192), 8192);
    ((volatile char *)private)[0] = private[0];
    tell("marker", "silent.private", private, PAGE, seed);
    say("fact shared %#lx", (unsigned long)shared);
    say("thread %d", own_tid());
    ready("server=%d", (int)server);
    sleep_forever();
}
