/* All registers of a thread full of known values, kept there over a long loop or a system call, and looked at afterwards:
 * the general ones, SSE, AVX or AVX-512 with its masks, x87, their control words, the direction flag, and the 128 bytes below
 * the stack pointer that a function may use without saying so. x86-64 only. */
#ifndef REGISTERS_H
#define REGISTERS_H

#include "target.h"
#include <stddef.h>

struct round_area {
    uint32_t in[32][16], out[32][16];
    uint64_t general[16]; /* rax rbx rcx rdx rsi rdi rbp, unused, r8 to r15 */
    uint64_t red_zone[16], masks[8];
    uint64_t flags;
    struct timespec rest;
    double float_in, float_out;
    uint32_t mxcsr_in, mxcsr_out, mxcsr_usual;
    uint16_t control_in, control_out, control_usual;
} __attribute__((aligned(64)));

/* The assembly below knows the places. */
_Static_assert(offsetof(struct round_area, out) == 2048, "out");
_Static_assert(offsetof(struct round_area, general) == 4096, "general");
_Static_assert(offsetof(struct round_area, red_zone) == 4224, "red_zone");
_Static_assert(offsetof(struct round_area, masks) == 4352, "masks");
_Static_assert(offsetof(struct round_area, flags) == 4416, "flags");
_Static_assert(offsetof(struct round_area, rest) == 4424, "rest");
_Static_assert(offsetof(struct round_area, float_in) == 4440, "float_in");
_Static_assert(offsetof(struct round_area, mxcsr_in) == 4456, "mxcsr_in");
_Static_assert(offsetof(struct round_area, control_in) == 4468, "control_in");

#define MULTIPLIER 6364136223846793005ul
#define INCREMENT 1442695040888963407ul
#define PATTERN 0x5a17000000c0de00ul
#define RED 0x52ed0000
#define DIRECTION 0x400

/* round(area, loops, call, stack): without a `call`, `loops` steps of a generator in rax; else that system call, which gets
 * (&area->rest, NULL). On a `stack` of 40 bytes and the red zone, or below the caller's. */
typedef void round_function(struct round_area *area, uint64_t loops, uint64_t call, void *stack);
round_function round_of_sse, round_of_avx, round_of_avx512;

__asm__(
    ".macro each_16 what:vararg\n"
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n \\what \\n\n .endr\n .endm\n"
    ".macro each_upper what:vararg\n"
    ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n \\what \\n\n .endr\n .endm\n"
    ".macro each_mask what:vararg\n .irp n, 1, 2, 3, 4, 5, 6, 7\n \\what \\n\n .endr\n .endm\n"

    ".macro load_xmm n\n movdqu \\n * 64(%rdi), %xmm\\n\n .endm\n"
    ".macro load_ymm n\n vmovdqu \\n * 64(%rdi), %ymm\\n\n .endm\n"
    ".macro load_zmm n\n vmovdqu64 \\n * 64(%rdi), %zmm\\n\n .endm\n"
    ".macro load_mask n\n kmovq 4352 + 8 * \\n(%rdi), %k\\n\n .endm\n"
    ".macro store_xmm n\n movdqu %xmm\\n, 2048 + \\n * 64(%rdi)\n .endm\n"
    ".macro store_ymm n\n vmovdqu %ymm\\n, 2048 + \\n * 64(%rdi)\n .endm\n"
    ".macro store_zmm n\n vmovdqu64 %zmm\\n, 2048 + \\n * 64(%rdi)\n .endm\n"
    ".macro store_mask n\n kmovq %k\\n, 4352 + 8 * \\n(%rdi)\n .endm\n"
    ".macro load_sse\n each_16 load_xmm\n .endm\n"
    ".macro load_avx\n each_16 load_ymm\n .endm\n"
    ".macro load_avx512\n each_16 load_zmm\n each_upper load_zmm\n each_mask load_mask\n .endm\n"
    ".macro store_sse\n each_16 store_xmm\n .endm\n"
    ".macro store_avx\n each_16 store_ymm\n vzeroupper\n .endm\n"
    ".macro store_avx512\n each_16 store_zmm\n each_upper store_zmm\n each_mask store_mask\n vzeroupper\n .endm\n"

    ".macro fill_red n\n movq $(0x52ed0000 + \\n), -8 - 8 * \\n(%rsp)\n .endm\n"
    ".macro keep_red n\n mov -8 - 8 * \\n(%rsp), %rax\n mov %rax, 4224 + 8 * \\n(%rdi)\n .endm\n"
    ".macro pattern number, register\n movabs $(0x5a17000000c0de00 + \\number), \\register\n .endm\n"

    ".macro round kind\n"
    ".globl round_of_\\kind\n .type round_of_\\kind, @function\n"
    "round_of_\\kind:\n"
    "   push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "   mov %rsp, %rax\n"
    "   test %rcx, %rcx\n"
    "   jnz 1f\n"
    "   lea -256(%rsp), %rcx\n"
    "1: mov %rcx, %rsp\n"
    "   mov %rdi, (%rsp)\n mov %rax, 8(%rsp)\n mov %rsi, 16(%rsp)\n mov %rdx, 24(%rsp)\n"
    "   load_\\kind\n"
    "   ldmxcsr 4456(%rdi)\n fldcw 4468(%rdi)\n fldl 4440(%rdi)\n"
    "   each_16 fill_red\n"
    "   pattern 1, %rbx\n pattern 3, %rdx\n pattern 4, %rsi\n pattern 6, %rbp\n pattern 10, %r10\n pattern 11, %r11\n"
    "   pattern 12, %r12\n pattern 13, %r13\n pattern 14, %r14\n pattern 15, %r15\n"
    "   movabs $6364136223846793005, %r8\n movabs $1442695040888963407, %r9\n"
    "   std\n"
    "   cmpq $0, 24(%rsp)\n"
    "   jne 3f\n"
    "   mov 16(%rsp), %rcx\n pattern 0, %rax\n pattern 5, %rdi\n"
    "2: imul %r8, %rax\n add %r9, %rax\n dec %rcx\n jnz 2b\n"
    "   jmp 4f\n"
    "3: mov 24(%rsp), %rax\n add $4424, %rdi\n xor %esi, %esi\n"
    "   syscall\n"
    "4: mov %rdi, 32(%rsp)\n"
    "   mov (%rsp), %rdi\n"
    "   mov %rax, 4096(%rdi)\n mov %rbx, 4104(%rdi)\n mov %rcx, 4112(%rdi)\n mov %rdx, 4120(%rdi)\n"
    "   mov %rsi, 4128(%rdi)\n mov %rbp, 4144(%rdi)\n mov %r8, 4160(%rdi)\n mov %r9, 4168(%rdi)\n"
    "   mov %r10, 4176(%rdi)\n mov %r11, 4184(%rdi)\n mov %r12, 4192(%rdi)\n mov %r13, 4200(%rdi)\n"
    "   mov %r14, 4208(%rdi)\n mov %r15, 4216(%rdi)\n"
    "   mov 32(%rsp), %rax\n mov %rax, 4136(%rdi)\n"
    "   each_16 keep_red\n"
    "   pushfq\n pop %rax\n mov %rax, 4416(%rdi)\n"
    "   cld\n"
    "   stmxcsr 4460(%rdi)\n fnstcw 4470(%rdi)\n fstpl 4448(%rdi)\n"
    "   ldmxcsr 4464(%rdi)\n fldcw 4472(%rdi)\n"
    "   store_\\kind\n"
    "   mov 8(%rsp), %rsp\n"
    "   pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
    "   ret\n"
    ".size round_of_\\kind, . - round_of_\\kind\n"
    ".endm\n"
    ".text\n round sse\n round avx\n round avx512\n");

static round_function *round_function_here;
static size_t vector_words, vectors;

static MAYBE_UNUSED const char *choose_round(void)
{
    if (__builtin_cpu_supports("avx512bw")) {
        round_function_here = round_of_avx512, vector_words = 16, vectors = 32;
        return "avx512";
    }
    if (__builtin_cpu_supports("avx2")) {
        round_function_here = round_of_avx, vector_words = 8, vectors = 16;
        return "avx";
    }
    round_function_here = round_of_sse, vector_words = 4, vectors = 16;
    return "sse";
}

static MAYBE_UNUSED void prepare_area(struct round_area *area, uint32_t number)
{
    memset(area, 0, sizeof *area);
    for (uint32_t i = 0; i < 32; i++)
        for (uint32_t j = 0; j < 16; j++)
            area->in[i][j] = number * 0x01000193u + 0x01010000u * i + 0x100u + j;
    area->float_in = 1.0 / (number + 3);
    /* Rounding towards zero and downwards, everything masked: not what any library would set. */
    area->mxcsr_in = 0x7f80, area->control_in = 0x077f;
    area->mxcsr_usual = 0x1f80, area->control_usual = 0x037f;
}

/* What rax holds after so many steps. */
static MAYBE_UNUSED uint64_t generated(uint64_t loops)
{
    uint64_t state = PATTERN;
    while (loops--)
        state = state * MULTIPLIER + INCREMENT;
    return state;
}

/* Goes one round; what came out wrong, or NULL. `result` is what rax must hold. */
static MAYBE_UNUSED const char *go_round(struct round_area *area, uint64_t loops, uint64_t call, void *stack, uint64_t result)
{
    static const uint8_t same[] = {1, 3, 6, 10, 12, 13, 14, 15};
    static __thread char what[160];
    for (int i = 0; i < 8; i++)
        area->masks[i] = 0x1000u + (unsigned)i;
    memset(area->out, 0, sizeof area->out);
    round_function_here(area, loops, call, stack);
    for (size_t i = 0; i < sizeof same; i++)
        if (area->general[same[i]] != PATTERN + same[i]) {
            snprintf(what, sizeof what, "register %d is %#" PRIx64, same[i], area->general[same[i]]);
            return what;
        }
    uint64_t at = (uint64_t)(uintptr_t)&area->rest;
    if (area->general[0] != result || area->general[8] != MULTIPLIER || area->general[9] != INCREMENT
        || area->general[5] != (call ? at : PATTERN + 5) || area->general[4] != (call ? 0 : PATTERN + 4)
        || (!call && (area->general[2] || area->general[11] != PATTERN + 11))) {
        snprintf(what, sizeof what, "rax %#" PRIx64 " rcx %#" PRIx64 " rsi %#" PRIx64 " rdi %#" PRIx64 " r8 %#" PRIx64,
                 area->general[0], area->general[2], area->general[4], area->general[5], area->general[8]);
        return what;
    }
    for (size_t i = 0; i < 16; i++)
        if (area->red_zone[i] != RED + i)
            return "the red zone was written to";
    for (size_t i = 0; i < vectors; i++)
        if (memcmp(area->in[i], area->out[i], 4 * vector_words)) {
            snprintf(what, sizeof what, "vector register %zu is %#x %#x %#x %#x ...", i, area->out[i][0], area->out[i][1],
                     area->out[i][2], area->out[i][3]);
            return what;
        }
    for (unsigned i = 1; i < 8; i++)
        if (area->masks[i] != 0x1000u + i)
            return "a mask register is other than it was";
    if (!(area->flags & DIRECTION))
        return "the direction flag is gone";
    if (area->mxcsr_out != area->mxcsr_in || area->control_out != area->control_in || area->float_out != area->float_in) {
        snprintf(what, sizeof what, "mxcsr %#x, x87 control %#x, st0 %g", area->mxcsr_out, area->control_out,
                 area->float_out);
        return what;
    }
    return NULL;
}

#endif
