// Functions of 64-bit Windows on ARM with the unwind codes that compilers write; `seh.exe` was made by
//
//     llvm-mc --triple=aarch64-pc-windows-msvc -filetype=obj seh.s -o seh.obj
//     lld-link /machine:arm64 /subsystem:console /entry:frame_record /nodefaultlib /fixed:no /Brepro /out:seh.exe seh.obj
.text

.globl frame_record
.p2align 2
.seh_proc frame_record
frame_record:
    stp x29, x30, [sp, #-32]!
    .seh_save_fplr_x 32
    str x19, [sp, #16]
    .seh_save_reg x19, 16
    mov x29, sp
    .seh_set_fp
    .seh_endprologue
    mov x19, x0
    bl saves_pairs
    add x0, x19, #1
    .seh_startepilogue
    mov sp, x29
    .seh_set_fp
    ldr x19, [sp, #16]
    .seh_save_reg x19, 16
    ldp x29, x30, [sp], #32
    .seh_save_fplr_x 32
    .seh_endepilogue
    ret
.seh_endproc

.globl saves_pairs
.p2align 2
.seh_proc saves_pairs
saves_pairs:
    stp x19, x20, [sp, #-64]!
    .seh_save_regp_x x19, 64
    stp x21, x22, [sp, #16]
    .seh_save_regp x21, 16
    stp d8, d9, [sp, #32]
    .seh_save_fregp d8, 32
    str x30, [sp, #48]
    .seh_save_reg x30, 48
    sub sp, sp, #688
    .seh_stackalloc 688
    .seh_endprologue
    bl record_on_top
    mov x0, x20
    .seh_startepilogue
    add sp, sp, #688
    .seh_stackalloc 688
    ldr x30, [sp, #48]
    .seh_save_reg x30, 48
    ldp d8, d9, [sp, #32]
    .seh_save_fregp d8, 32
    ldp x21, x22, [sp, #16]
    .seh_save_regp x21, 16
    ldp x19, x20, [sp], #64
    .seh_save_regp_x x19, 64
    .seh_endepilogue
    ret
.seh_endproc

.globl record_on_top
.p2align 2
.seh_proc record_on_top
record_on_top:
    sub sp, sp, #80
    .seh_stackalloc 80
    stp x25, x26, [sp, #16]
    .seh_save_regp x25, 16
    str x27, [sp, #32]
    .seh_save_reg x27, 32
    stp x29, x30, [sp, #48]
    .seh_save_fplr 48
    add x29, sp, #48
    .seh_add_fp 48
    .seh_endprologue
    bl with_link_pair
    nop
    .seh_startepilogue
    sub sp, x29, #48
    .seh_add_fp 48
    ldp x29, x30, [sp, #48]
    .seh_save_fplr 48
    ldr x27, [sp, #32]
    .seh_save_reg x27, 32
    ldp x25, x26, [sp, #16]
    .seh_save_regp x25, 16
    add sp, sp, #80
    .seh_stackalloc 80
    .seh_endepilogue
    ret
.seh_endproc

.globl with_link_pair
.p2align 2
.seh_proc with_link_pair
with_link_pair:
    str x21, [sp, #-48]!
    .seh_save_reg_x x21, 48
    stp x23, x30, [sp, #16]
    .seh_save_lrpair x23, 16
    str d10, [sp, #32]
    .seh_save_freg d10, 32
    .seh_endprologue
    bl leaf
    mov x0, x21
    .seh_startepilogue
    ldr d10, [sp, #32]
    .seh_save_freg d10, 32
    ldp x23, x30, [sp, #16]
    .seh_save_lrpair x23, 16
    ldr x21, [sp], #48
    .seh_save_reg_x x21, 48
    .seh_endepilogue
    ret
.seh_endproc

.globl leaf
.p2align 2
.seh_proc leaf
leaf:
    sub sp, sp, #16
    .seh_stackalloc 16
    .seh_endprologue
    str x0, [sp, #8]
    nop
    .seh_startepilogue
    add sp, sp, #16
    .seh_stackalloc 16
    .seh_endepilogue
    ret
.seh_endproc
