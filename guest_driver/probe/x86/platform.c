/* SPDX-License-Identifier: Apache-2.0 */
#include "../../pmu/pmu_x86.h"
#include "../probe.h"

#define ANSWER_PORT 0xe9 /* isa-debugcon */
#define EXIT_PORT 0xf4   /* isa-debug-exit: QEMU ends with status 2 * value + 1 */
#define EXIT_VALUE 0x10u

const char probe_arch[] = "x86_64"; /* of the machine; this code runs in its 32-bit mode */

void probe_put(char c)
{
	__asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((uint16_t)ANSWER_PORT));
}

/* The overflow status, where there is one, is among the checks of every counter. */
const char *probe_overflows(const struct pmu_report *report, probe_overflow_done *done)
{
	(void)report;
	(void)done;
	return "on x86_64 the PMU probe programs no interrupt controller";
}

_Noreturn void probe_off(void)
{
	__asm__ volatile("outl %0, %1" : : "a"(EXIT_VALUE), "Nd"((uint16_t)EXIT_PORT));
	for (;;)
		__asm__ volatile("cli\n\thlt");
}

static void put_leaf(uint32_t leaf)
{
	struct pmu_cpuid id;

	pmu_cpuid(leaf, 0, &id);
	probe_register("cpuid", leaf, "eax", id.eax);
	probe_register("cpuid", leaf, "ebx", id.ebx);
	probe_register("cpuid", leaf, "ecx", id.ecx);
	probe_register("cpuid", leaf, "edx", id.edx);
}

void probe_registers(void)
{
	static const uint32_t leaves[] = { 0, 1, 7, 0xa, 0x23, 0x80000000, 0x80000001, 0x80000022 };
	static const uint32_t hypervisor_leaves[] = { 0x40000000, 0x40000001, 0x40000003 };
	struct pmu_cpuid id;
	uint32_t highest;

	for (uint32_t i = 0; i < sizeof leaves / sizeof *leaves; i++)
		if (pmu_cpuid_known(leaves[i], &id))
			put_leaf(leaves[i]);
	pmu_cpuid(1, 0, &id);
	if (!(id.ecx >> 31)) /* no hypervisor leaves */
		return;
	pmu_cpuid(0x40000000, 0, &id);
	highest = id.eax;
	for (uint32_t i = 0; i < sizeof hypervisor_leaves / sizeof *hypervisor_leaves; i++)
		if (i == 0 || hypervisor_leaves[i] <= highest)
			put_leaf(hypervisor_leaves[i]);
}
