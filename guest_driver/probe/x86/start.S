/* SPDX-License-Identifier: Apache-2.0 */
/* Multiboot 1: entered in 32-bit protected mode, flat segments, paging off, interrupts masked. */

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0
#define CODE 0x08
#define DATA 0x10
#define VECTORS 32

	.section .multiboot, "a"
	.balign 4
	.long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

	.text
	.globl _start
_start:
	cli
	cld
	movl $stack_top, %esp
	lgdt gdt_pointer
	ljmp $CODE, $1f
1:	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss

	/* One gate per exception vector; the stubs are 8 bytes apart. */
	movl $stubs, %eax
	movl $idt, %edi
	movl $VECTORS, %ecx
2:	movw %ax, (%edi)
	movw $CODE, 2(%edi)
	movw $0x8e00, 4(%edi)
	movl %eax, %edx
	shrl $16, %edx
	movw %dx, 6(%edi)
	addl $8, %eax
	addl $8, %edi
	decl %ecx
	jnz 2b
	lidt idt_pointer
	call probe_main
3:	hlt
	jmp 3b

	.balign 8
stubs:
	.set vector, 0
	.rept VECTORS
	.balign 8
	pushl $vector
	jmp exception
	.set vector, vector + 1
	.endr

/*
 * uint32_t pmu_guarded(uint32_t op, uint32_t reg, uint64_t *value): pmu_raw() with a way back. The arguments are at the same place
 * for pmu_raw once they have been pushed again.
 */
	.globl pmu_guarded
pmu_guarded:
	pushl %ebp
	pushl %ebx
	pushl %esi
	pushl %edi
	movl %esp, guard
	pushl 28(%esp)
	pushl 28(%esp)
	pushl 28(%esp)
	call pmu_raw
	addl $12, %esp
	xorl %eax, %eax
guard_left:
	movl $0, guard
	popl %edi
	popl %esi
	popl %ebx
	popl %ebp
	ret

/* On the stack: the vector, then (error code,) EIP, CS, EFLAGS. Inside a guard the vector becomes pmu_guarded's answer. */
exception:
	popl %eax
	cmpl $0, guard
	je unguarded
	movl guard, %esp
	jmp guard_left
unguarded:
	/* EIP is on top, or below an error code: vectors 8, 10 to 14, 17, 21, 29, 30. */
	movl (%esp), %edx
	movl $0x60227d00, %ecx
	btl %eax, %ecx
	jnc 1f
	movl 4(%esp), %edx
1:	pushl $0
	pushl %edx
	pushl $0
	pushl %eax
	call probe_died

	.data
	.balign 8
gdt:	.quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt
idt_pointer:
	.word VECTORS * 8 - 1
	.long idt

	.bss
	.balign 16
idt:	.skip VECTORS * 8
guard:	.skip 4
	.balign 16
	.skip 16384
stack_top:

	.section .note.GNU-stack, "", @progbits
