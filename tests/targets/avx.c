/* Vector registers full of known numbers: 32-bit lane J of register I holds 0x01010000 * I + 0x100 + J... of one thread
 * that spins and of one that sleeps in a system call. Masks k1 to k7 hold 0x1000 + their number. */
#include "target.h"

static uint32_t table[32][16] __attribute__((aligned(64)));
static volatile int started;

#define EACH_16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define EACH_UPPER(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define LOAD_YMM(I) "vmovdqu " #I "*64(%0), %%ymm" #I "\n"
#define LOAD_ZMM(I) "vmovdqu64 " #I "*64(%0), %%zmm" #I "\n"
#define LOAD_MASK(I) "mov $0x100" #I ", %%ecx\n kmovd %%ecx, %%k" #I "\n"
#define MASKS LOAD_MASK(1) LOAD_MASK(2) LOAD_MASK(3) LOAD_MASK(4) LOAD_MASK(5) LOAD_MASK(6) LOAD_MASK(7)
#define SPIN "movl $1, (%1)\n 1: pause\n jmp 1b\n"
#define SLEEP "movl $1, (%1)\n 1: mov $34, %%eax\n syscall\n jmp 1b\n"

static int wide;

static NOINLINE void *spin(void *nothing)
{
    say("busy %d", own_tid());
    say("fact spinner %d", own_tid());
    if (wide)
        __asm__ volatile(EACH_16(LOAD_ZMM) EACH_UPPER(LOAD_ZMM) MASKS SPIN : : "r"(table), "r"(&started) : "rcx", "memory");
    else
        __asm__ volatile(EACH_16(LOAD_YMM) SPIN : : "r"(table), "r"(&started) : "rcx", "memory");
    return nothing;
}

static NOINLINE void *asleep(void *nothing)
{
    say("thread %d", own_tid());
    say("fact sleeper %d", own_tid());
    if (wide)
        __asm__ volatile(EACH_16(LOAD_ZMM) EACH_UPPER(LOAD_ZMM) MASKS SLEEP
                         : : "r"(table), "r"(&started) : "rcx", "r11", "rax", "memory");
    else
        __asm__ volatile(EACH_16(LOAD_YMM) SLEEP : : "r"(table), "r"(&started) : "rcx", "r11", "rax", "memory");
    return nothing;
}

int main(void)
{
    begin();
    if (!__builtin_cpu_supports("avx2")) {
        ready("unsupported=1");
        sleep_forever();
    }
    wide = __builtin_cpu_supports("avx512bw");
    for (uint32_t i = 0; i < 32; i++)
        for (uint32_t j = 0; j < 16; j++)
            table[i][j] = 0x01010000 * i + 0x100 + j;
    start(spin, NULL, 0);
    while (!started)
        usleep(1000);
    started = 0;
    start(asleep, NULL, 0);
    while (!started)
        usleep(1000);
    usleep(20000);
    say("thread %d", own_tid());
    ready("wide=%d", wide);
    sleep_forever();
}
