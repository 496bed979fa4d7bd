/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A raw image with the arm64 boot header (Linux: Documentation/arch/arm64/booting.rst): entered at EL2 or EL1 with the MMU off.
 * Runs at EL1. Memory is of device type then, hence compiled with strict alignment.
 */
	.section .head, "ax"
	.globl _start
_start:
	b start
	.long 0
	.quad 0x80000             /* offset from the start of memory; the link address follows from it */
	.quad image_bytes
	.quad 2                   /* little endian, 4 KiB pages */
	.quad 0, 0, 0
	.ascii "ARM\x64"
	.long 0

	.text
start:
	msr daifset, #15
	mov x20, #0               /* non-zero: PSCI is behind SMC */
	mrs x0, CurrentEL
	cmp x0, #(2 << 2)
	b.ne at_el1

	/* From EL2 to EL1: 64-bit, no traps, all event counters handed down. */
	mov x20, #1
	mov x0, #(1 << 31)
	msr hcr_el2, x0
	mov x0, #0x33ff
	msr cptr_el2, x0
	mov x1, #0
	mrs x0, id_aa64dfr0_el1
	ubfx x0, x0, #8, #4
	sub x0, x0, #1
	cmp x0, #14               /* PMUVer 1 to 14; 0 and 15 are no PMUv3 */
	b.hs 1f
	mrs x1, pmcr_el0
	ubfx x1, x1, #11, #5
1:	msr mdcr_el2, x1
	mrs x0, id_aa64pfr0_el1
	ubfx x0, x0, #24, #4
	cbz x0, 5f
	mov x0, #9                /* EL1 may use the registers of a GIC version 3: ICC_SRE_EL2 */
	msr S3_4_C12_C9_5, x0
5:
	mov x0, #0x3c5            /* EL1 with its own stack pointer, all masked */
	msr spsr_el2, x0
	adr x0, at_el1
	msr elr_el2, x0
	eret

at_el1:
	ldr x0, =0x30d00800       /* SCTLR_EL1: reserved bits, MMU and caches off */
	msr sctlr_el1, x0
	isb
	adrp x0, vectors
	add x0, x0, :lo12:vectors
	msr vbar_el1, x0
	isb
	adrp x0, stack_top
	add x0, x0, :lo12:stack_top
	mov sp, x0
	adrp x0, bss_start
	add x0, x0, :lo12:bss_start
	adrp x1, bss_end
	add x1, x1, :lo12:bss_end
2:	cmp x0, x1
	b.hs 3f
	str xzr, [x0], #8
	b 2b
3:	adrp x0, psci_by_smc
	str x20, [x0, :lo12:psci_by_smc]
	bl probe_main
4:	wfi
	b 4b

/* uint32_t pmu_guarded(uint32_t op, uint32_t reg, uint64_t *value): pmu_raw() with a way back. */
	.globl pmu_guarded
pmu_guarded:
	stp x29, x30, [sp, #-96]!
	stp x19, x20, [sp, #16]
	stp x21, x22, [sp, #32]
	stp x23, x24, [sp, #48]
	stp x25, x26, [sp, #64]
	stp x27, x28, [sp, #80]
	adrp x9, guard
	mov x10, sp
	str x10, [x9, :lo12:guard]
	bl pmu_raw
	mov w0, #0
guard_left:
	adrp x9, guard
	str xzr, [x9, :lo12:guard]
	ldp x19, x20, [sp, #16]
	ldp x21, x22, [sp, #32]
	ldp x23, x24, [sp, #48]
	ldp x25, x26, [sp, #64]
	ldp x27, x28, [sp, #80]
	ldp x29, x30, [sp], #96
	ret

/* Inside a guard, ESR_EL1 becomes pmu_guarded's answer: never 0, for bit 25 (a 32-bit instruction) is set in all that can happen there. */
exception:
	mrs x0, esr_el1
	adrp x9, guard
	ldr x10, [x9, :lo12:guard]
	cbz x10, 1f
	mov sp, x10
	b guard_left
1:	mrs x1, elr_el1
	bl probe_died

interrupt:
	stp x0, x1, [sp, #-176]!
	stp x2, x3, [sp, #16]
	stp x4, x5, [sp, #32]
	stp x6, x7, [sp, #48]
	stp x8, x9, [sp, #64]
	stp x10, x11, [sp, #80]
	stp x12, x13, [sp, #96]
	stp x14, x15, [sp, #112]
	stp x16, x17, [sp, #128]
	stp x18, x29, [sp, #144]
	str x30, [sp, #160]
	bl probe_interrupt
	ldr x30, [sp, #160]
	ldp x18, x29, [sp, #144]
	ldp x16, x17, [sp, #128]
	ldp x14, x15, [sp, #112]
	ldp x12, x13, [sp, #96]
	ldp x10, x11, [sp, #80]
	ldp x8, x9, [sp, #64]
	ldp x6, x7, [sp, #48]
	ldp x4, x5, [sp, #32]
	ldp x2, x3, [sp, #16]
	ldp x0, x1, [sp], #176
	eret

	.balign 2048
vectors:
	.rept 5
	.balign 128
	b exception
	.endr
	.balign 128
	b interrupt               /* IRQ, from EL1 with its own stack pointer */
	.rept 10
	.balign 128
	b exception
	.endr

	.bss
	.balign 16
guard:	.skip 8
	.balign 16
	.skip 16384
stack_top:

	.section .note.GNU-stack, "", @progbits
