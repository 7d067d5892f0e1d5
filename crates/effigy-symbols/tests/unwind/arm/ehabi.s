@ Functions of 32-bit ARM, in both encodings, whose frames only .ARM.exidx describes. Each calls the next; `ehabi` was made by
@
@     llvm-mc --triple=armv7-linux-gnueabihf -filetype=obj ehabi.s -o ehabi.o
@     ld.lld -o ehabi ehabi.o && llvm-objcopy -R .comment ehabi
.syntax unified
.arch armv7-a
.fpu vfpv3-d16
.text

.globl _start
.type _start, %function
_start:
.fnstart
.cantunwind
    bl with_frame_pointer
    b .
.fnend
.size _start, . - _start

.type with_frame_pointer, %function
with_frame_pointer:
.fnstart
.save {r4, r5, r11, lr}
    push {r4, r5, r11, lr}
.setfp r11, sp, #8
    add r11, sp, #8
.pad #40
    sub sp, sp, #40
    bl large_and_vectors
    sub sp, r11, #8
    pop {r4, r5, r11, pc}
.fnend
.size with_frame_pointer, . - with_frame_pointer

.thumb
.thumb_func
.type large_and_vectors, %function
large_and_vectors:
.fnstart
.save {r4, r6, r7, lr}
    push {r4, r6, r7, lr}
.vsave {d8, d9}
    vpush {d8, d9}
.pad #520
    sub sp, sp, #520
    bl many_registers
    add sp, sp, #520
    vpop {d8, d9}
    pop {r4, r6, r7, pc}
.fnend
.size large_and_vectors, . - large_and_vectors

.arm
.type many_registers, %function
many_registers:
.fnstart
.save {r4, r5, r6, r7, r8, r9, r10, lr}
    push {r4, r5, r6, r7, r8, r9, r10, lr}
.pad #264
    sub sp, sp, #264
    bl arguments_on_top
    add sp, sp, #264
    pop {r4, r5, r6, r7, r8, r9, r10, pc}
.fnend
.size many_registers, . - many_registers

.thumb
.thumb_func
.type arguments_on_top, %function
arguments_on_top:
.fnstart
.save {r0, r1, r2, r3}
    push {r0, r1, r2, r3}
.save {r4, lr}
    push {r4, lr}
    bl innermost
    pop {r4, lr}
    add sp, sp, #16
    bx lr
.fnend
.size arguments_on_top, . - arguments_on_top

.thumb_func
.type innermost, %function
innermost:
.fnstart
.save {r7, lr}
    push {r7, lr}
.setfp r7, sp
    mov r7, sp
    nop
    nop
    pop {r7, pc}
.fnend
.size innermost, . - innermost
