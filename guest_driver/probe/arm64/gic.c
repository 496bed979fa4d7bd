/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm's "Generic Interrupt Controller Architecture Specification", versions 2.0 and 3. Version 3 is there when ID_AA64PFR0_EL1 says
 * that its CPU interface is: system registers then, and a redistributor for each CPU.
 */
#include "gic.h"

#define DISTRIBUTOR 0x08000000ul
#define CPU_INTERFACE 0x08010000ul          /* version 2 */
#define REDISTRIBUTOR 0x080a0000ul          /* version 3: of the first CPU */
#define PRIVATE (REDISTRIBUTOR + 0x10000ul) /* its frame of private interrupts */
#define REGISTER(address) (*(volatile uint32_t *)(address))

#define GROUP 0x080u
#define SET_ENABLE 0x100u
#define CLEAR_ENABLE 0x180u
#define ANY_PRIORITY 0xffu
#define DISTRIBUTOR_ON 0x13u /* version 3: affinity routing, both groups, in the layout of either security state */
#define SLEEP (1u << 1)
#define ASLEEP (1u << 2)
#define WAKE_TRIES 100000u

#define ICC_SRE_EL1 "S3_0_C12_C12_5"
#define ICC_PMR_EL1 "S3_0_C4_C6_0"
#define ICC_IGRPEN1_EL1 "S3_0_C12_C12_7"
#define ICC_IAR1_EL1 "S3_0_C12_C12_0"
#define ICC_EOIR1_EL1 "S3_0_C12_C12_1"
#define WRITE(name, value) __asm__ volatile("msr " name ", %0\n\tisb" : : "r"((uint64_t)(value)) : "memory")

static int version_3(void)
{
	uint64_t features;

	__asm__ volatile("mrs %0, id_aa64pfr0_el1" : "=r"(features));
	return (features >> 24 & 0xfu) != 0;
}

void gic_enable(uint32_t number)
{
	if (!version_3()) {
		REGISTER(DISTRIBUTOR) = 1;
		REGISTER(DISTRIBUTOR + SET_ENABLE) = 1u << number;
		REGISTER(CPU_INTERFACE + 4) = ANY_PRIORITY;
		REGISTER(CPU_INTERFACE) = 1;
		return;
	}
	REGISTER(DISTRIBUTOR) = DISTRIBUTOR_ON;
	REGISTER(REDISTRIBUTOR + 0x14) &= ~SLEEP;
	for (uint32_t i = 0; i < WAKE_TRIES && (REGISTER(REDISTRIBUTOR + 0x14) & ASLEEP); i++)
		;
	REGISTER(PRIVATE + GROUP) |= 1u << number;
	REGISTER(PRIVATE + SET_ENABLE) = 1u << number;
	WRITE(ICC_SRE_EL1, 7);
	WRITE(ICC_PMR_EL1, ANY_PRIORITY);
	WRITE(ICC_IGRPEN1_EL1, 1);
}

void gic_disable(uint32_t number)
{
	REGISTER((version_3() ? PRIVATE : DISTRIBUTOR) + CLEAR_ENABLE) = 1u << number;
}

uint32_t gic_acknowledge(void)
{
	uint64_t number;

	if (!version_3())
		return REGISTER(CPU_INTERFACE + 0xc) & 0x3ffu;
	__asm__ volatile("mrs %0, " ICC_IAR1_EL1 "\n\tdsb sy" : "=r"(number) : : "memory");
	return (uint32_t)number & 0xffffffu;
}

void gic_end(uint32_t number)
{
	if (version_3())
		WRITE(ICC_EOIR1_EL1, number);
	else
		REGISTER(CPU_INTERFACE + 0x10) = number;
}
