/* A quiet program of one thread with a few marks.
 *   -n        not dumpable (PR_SET_DUMPABLE 0)
 *   -s WORD   keeps WORD on its heap, on its stack and in its bss, as programs do with passwords
 *   -o PATH   keeps PATH open
 *   -c NAME   calls itself NAME
 */
#include "target.h"

static uint64_t in_bss[512];
static char word_in_bss[256];

int main(int count, char **words)
{
    char word_on_stack[256] = {0};
    char *word_on_heap = malloc(256);
    int option;
    begin();
    while ((option = getopt(count, words, "ns:o:c:")) != -1) {
        switch (option) {
        case 'n': prctl(PR_SET_DUMPABLE, 0); break;
        case 'c': prctl(PR_SET_NAME, optarg); break;
        case 's':
            snprintf(word_in_bss, sizeof word_in_bss, "%s", optarg);
            snprintf(word_on_stack, sizeof word_on_stack, "%s", optarg);
            snprintf(word_on_heap, 256, "%s", optarg);
            break;
        case 'o':
            if (open(optarg, O_RDWR | O_CREAT, 0600) < 0)
                fail(optarg);
            break;
        default: return 98;
        }
    }
    uint64_t on_stack[64];
    marker("bss", in_bss, sizeof in_bss);
    marker("heap", malloc(8192), 8192);
    marker("stack", on_stack, sizeof on_stack);
    say("thread %d", own_tid());
    ready("words=%d", count);
    sleep_forever();
    __asm__ volatile("" : : "r"(on_stack), "r"(word_on_stack), "r"(word_on_heap) : "memory");
}
