/* SPDX-License-Identifier: Apache-2.0 */
#include "../../pmu/pmu.h"
#include "../../pmu/pmu_arm64.h"
#include "../probe.h"

/* PL011 of QEMU's virt machine. */
#define UART_DATA ((volatile uint32_t *)0x09000000)
#define UART_FLAGS ((volatile uint32_t *)0x09000018)
#define UART_TRANSMIT_FULL (1u << 5)
#define PSCI_SYSTEM_OFF 0x84000008ul
#define SMC_0 ".inst 0xd4000003" /* the assembler knows the mnemonic only for CPUs with EL3 */

const char probe_arch[] = "aarch64";
uint64_t psci_by_smc; /* set by the start code */

void probe_put(char c)
{
	while (*UART_FLAGS & UART_TRANSMIT_FULL)
		;
	*UART_DATA = (uint8_t)c;
}

_Noreturn void probe_off(void)
{
	register uint64_t function __asm__("x0") = PSCI_SYSTEM_OFF;

	if (psci_by_smc)
		__asm__ volatile(SMC_0 : "+r"(function) : : "x1", "x2", "x3", "memory");
	else
		__asm__ volatile("hvc #0" : "+r"(function) : : "x1", "x2", "x3", "memory");
	for (;;)
		__asm__ volatile("wfi");
}

/* Registers that are undefined here are left out. */
static void put_register(const char *name, uint32_t reg)
{
	uint64_t value = 0;

	if (pmu_guarded(PMU_SYSREG_READ, reg, &value) == 0)
		probe_register(name, 0, 0, value);
}

void probe_registers(void)
{
	put_register("MIDR_EL1", PMU_MIDR);
	put_register("ID_AA64DFR0_EL1", PMU_ID_AA64DFR0);
	put_register("PMCR_EL0", PMU_PMCR);
	put_register("PMCEID0_EL0", PMU_PMCEID0);
	put_register("PMCEID1_EL0", PMU_PMCEID1);
}
